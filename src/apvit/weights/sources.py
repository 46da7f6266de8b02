"""Where weights come from: bundled names, local paths, the Hugging Face hub. Needs no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from apvit.files import did_you_mean
from apvit.hub import hub_is_reachable

ASSETS = Path(str(resources.files("apvit"))) / "assets"
"""The folder of the bundled weights."""

DEFAULT_WEIGHTS = {"apvit_tiny": "apvit_tiny.ferplus", "apvit_small": "apvit_small.ferplus"}
"""What an architecture's name alone means."""

HUB = "hf://"
HUB_FILE = "model.safetensors"
SUFFIX = ".safetensors"

_HUB_REFERENCE = re.compile(r"hf://(?P<repo>[^/@]+/[^/@]+)(?:/(?P<file>[^@]+))?(?:@(?P<revision>.+))?")


class WeightsError(ValueError):
    """Weights cannot be found, read or written, or do not fit the model they claim to be."""


@dataclass(frozen=True)
class HubReference:
    """A file in a Hugging Face repository; `revision` is a branch, tag or commit, None for the default branch."""

    repo: str
    file: str = HUB_FILE
    revision: str | None = None


def list_weights() -> list[str]:
    """Names of the bundled weights, `<architecture>.<dataset>`."""
    return sorted(_bundled())


def find_weights(ref: str | Path) -> Path:
    """The file that `ref` means: a bundled name, a local path, or "hf://owner/repo[/file][@revision]".

    A bundled name wins over a file of that name (write "./name" for the file); an architecture's name alone means its
    default weights. A hub file is downloaded once and then read from the cache; with HF_HUB_OFFLINE=1 only from there.
    Raises WeightsError where there is no such file.
    """
    bundled = _bundled()
    if isinstance(ref, str):
        if ref.startswith(HUB):
            return _download(parse_hub_reference(ref))
        if (name := DEFAULT_WEIGHTS.get(ref, ref)) in bundled:
            return bundled[name]
    if str(ref) and Path(ref).exists():
        return Path(ref)
    raise WeightsError(
        f"no weights {str(ref)!r}{did_you_mean(str(ref), (*DEFAULT_WEIGHTS, *bundled))}: there is no such file, the "
        f"bundled weights are {', '.join(list_weights()) or 'none'}, and the hub's are written "
        "hf://owner/repo[/file][@revision]"
    )


def parse_hub_reference(ref: str) -> HubReference:
    """ "hf://owner/repo[/file][@revision]" in its parts; WeightsError for anything else.

    >>> parse_hub_reference("hf://someone/faces@v2")
    HubReference(repo='someone/faces', file='model.safetensors', revision='v2')
    """
    match = _HUB_REFERENCE.fullmatch(ref)
    if match is None:
        raise WeightsError(f"{ref!r} is not of the form hf://owner/repo[/file][@revision]")
    return HubReference(match["repo"], match["file"] or HUB_FILE, match["revision"])


def _bundled() -> dict[str, Path]:
    return {path.name.removesuffix(SUFFIX): path for path in ASSETS.glob(f"*{SUFFIX}")}


def _download(hub: HubReference) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    where = f"{hub.file} of hf://{hub.repo}" + (f" at revision {hub.revision}" if hub.revision else "")
    try:
        offline = not hub_is_reachable()
        return Path(hf_hub_download(hub.repo, hub.file, revision=hub.revision, local_files_only=offline))
    except LocalEntryNotFoundError:
        raise WeightsError(
            f"{where} is not in the local cache and the hub cannot be reached (no connection, or HF_HUB_OFFLINE "
            f"is set); download it once with a connection, or give a local path"
        ) from None
    except (OSError, ValueError) as error:  # missing repository, revision or file, no access, a malformed name
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise WeightsError(f"cannot get {where} from the hub: {reason[0]}") from None
