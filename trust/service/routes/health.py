"""Whether the service is well, for whoever operates it."""

from litestar import Response, get
from prometheus_client import generate_latest

from trust.client import paths
from trust.service import metrics
from trust.service.routes.http import ApiRequest, service_of


@get(paths.HEALTH, sync_to_thread=False)
def health() -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "ok"}


@get(paths.READY)
async def ready(request: ApiRequest) -> dict[str, int]:
    """Say that the store answers, the state is built, something is published and the time is sure.

    Otherwise a problem names all that hinders: 409 once the service has halted, else 503.
    """
    size, published = await service_of(request).readiness()
    return {"size": size, "published": published}


@get(paths.METRICS, sync_to_thread=False)
def prometheus() -> Response[bytes]:
    """Give the metrics; no label names a person, a key or a question."""
    return Response(
        generate_latest(metrics.registry), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
    )


routes = [health, ready, prometheus]
