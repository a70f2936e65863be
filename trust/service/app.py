"""The web application: routes, limits, errors as problems, metrics, health, OpenAPI."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar, Response, get
from litestar.exceptions import HTTPException
from litestar.middleware.rate_limit import RateLimitConfig
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from prometheus_client import generate_latest
from sqlalchemy import select

from ledger.errors import MusubiError, Unavailable
from trust.service import metrics
from trust.service.database import tables as t
from trust.service.pages.routes import page_routes
from trust.service.pages.town.gather import TownPageGatherer
from trust.service.routes import erasure as erasure_routes
from trust.service.routes import log as log_routes
from trust.service.routes import nodes as node_routes
from trust.service.routes import partners as partner_routes
from trust.service.routes import proofs as proof_routes
from trust.service.routes import residents as resident_routes
from trust.service.routes import stewards as key_routes
from trust.service.routes.http import ApiRequest, fault, http_problem, musubi_problem, service_of
from trust.service.service import Service


@get("/healthz", sync_to_thread=False)
def health() -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "ok"}


@get("/readyz")
async def ready(request: ApiRequest) -> dict[str, int]:
    """Say that the store answers, the state is built and something is published; 503 otherwise."""
    service = service_of(request)
    if service.store.halted:
        raise service.store.halted
    async with service.databases.reader.connect() as connection:
        size = (await connection.execute(select(t.head.c.size))).scalar_one()
    if service.store.state.size < size or not service.sequencer.size:
        raise Unavailable("The service is starting.")
    return {"size": size, "published": service.sequencer.size}


@get("/metrics", sync_to_thread=False)
def prometheus() -> Response[bytes]:
    """Give the metrics; no label names a person, a key or a question."""
    return Response(
        generate_latest(metrics.registry), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
    )


async def _close_at_end(app: Litestar, service: Service) -> None:
    """Let waiting polls go as soon as the process is told to stop (``trust.runtime.serving``)."""
    stopping: asyncio.Event | None = app.state.get("stopping")
    if stopping is not None:
        await stopping.wait()
        service.bell.close()


def create_app(service: Service) -> Litestar:
    """Return the application of one service; starting it starts the service."""

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        app.state.service = service
        try:
            await service.start()
        except MusubiError as error:
            app.state.failed = error  # for whoever started the process (``trust.runtime.serving``)
            raise
        ending = asyncio.create_task(_close_at_end(app, service), name="ending")
        try:
            yield
        finally:
            ending.cancel()
            await service.stop()

    options = service.settings.service
    rate_limit = RateLimitConfig(
        rate_limit=("minute", options.requests_per_minute), exclude=["^/log/", "^/static/", "^/healthz", "^/v1/node/"]
    )
    api: list[Any] = [
        *log_routes.routes,
        *proof_routes.routes,
        *resident_routes.routes,
        *erasure_routes.routes,
        *partner_routes.routes,
        *key_routes.routes,
        *node_routes.routes,
    ]
    return Litestar(
        route_handlers=[*api, health, ready, prometheus, page_routes(TownPageGatherer(service).gather)],
        lifespan=[lifespan],
        middleware=[rate_limit.middleware],
        request_max_body_size=options.max_body_bytes,
        exception_handlers={MusubiError: musubi_problem, HTTPException: http_problem, Exception: fault},
        openapi_config=OpenAPIConfig(
            title="Musubi",
            version="1",
            path="/openapi",
            description="Consents, questions and the ledger. Bodies are canonical JSON or compact JWS.",
            render_plugins=[JsonRenderPlugin()],
            use_handler_docstrings=True,
        ),
        logging_config=None,
        debug=False,
    )
