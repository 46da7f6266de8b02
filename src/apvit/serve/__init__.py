"""The service: pictures over HTTP, answers as JSON. Needs the extra `serve`.

The path of a request: `app` (routes) -> `uploads` (its pictures, in memory) -> `batching` (requests wait and are put
together) -> `worker` (a process of its own) -> `inference` (what that process does), and back as JSON. `limits` says
what is refused and `problems` how; `service` holds what lives as long as the service, `running` starts and ends it.
"""

from importlib.util import find_spec

for _package in ("fastapi", "uvicorn", "python_multipart", "prometheus_client"):
    if find_spec(_package) is None:
        raise ModuleNotFoundError(f"the service needs {_package}: pip install 'apvit[serve]'")
