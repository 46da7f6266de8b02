"""What the service counts, for Prometheus; nothing of it tells what was seen in a picture."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
PICTURES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The counters of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("apvit_requests", "Requests answered.", ("route", "status"), registry=registry)
        self.request_seconds = Histogram(
            "apvit_request_seconds", "Head of a request to its answer.", ("route",), registry=registry, buckets=SECONDS
        )
        self.pictures = Counter("apvit_pictures", "Pictures looked at.", ("outcome",), registry=registry)
        self.faces = Counter("apvit_faces", "Faces found.", registry=registry)
        self.waiting = Gauge("apvit_waiting_requests", "Requests that wait for the worker.", registry=registry)
        self.held_bytes = Gauge("apvit_held_bytes", "Bytes of uploads in memory.", registry=registry)
        self.batch_requests = Histogram(
            "apvit_batch_requests", "Requests that went to the worker together.", registry=registry, buckets=PICTURES
        )
        self.batch_pictures = Histogram(
            "apvit_batch_pictures", "Pictures that went to the worker together.", registry=registry, buckets=PICTURES
        )
        self.batch_seconds = Histogram(
            "apvit_batch_seconds", "Time of the worker for a batch.", registry=registry, buckets=SECONDS
        )
        self.worker_ready = Gauge("apvit_worker_ready", "1 while the worker takes requests.", registry=registry)
        self.worker_losses = Counter("apvit_worker_losses", "Workers that died or hung.", registry=registry)

    def text(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self.registry)
