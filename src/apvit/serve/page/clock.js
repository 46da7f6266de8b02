// Time in a video, as players write it.

/** "1:02:03", "2:03", or with `decimals` "2:03.4". */
export function clock(seconds, decimals = 0) {
  const whole = Number(seconds.toFixed(decimals));
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const rest = (whole % 60).toFixed(decimals).padStart(decimals ? 3 + decimals : 2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}
