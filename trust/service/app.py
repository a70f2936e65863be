"""The web application: routes, limits, errors as problems, metrics, health, OpenAPI."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig

from ledger.errors import MusubiError
from trust.service.capacity import limit_addresses
from trust.service.pages.routes import page_routes
from trust.service.pages.town.gather import TownPageGatherer
from trust.service.routes import health, log, nodes, partners, proofs, residents, stewards
from trust.service.routes.http import check_numbers, fault, http_problem, musubi_problem
from trust.service.routes.openapi.allowed_methods import allowed_methods
from trust.service.routes.openapi.document import DescribedInterface, operation_name
from trust.service.service import Service


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
    audiences = (log, proofs, residents, partners, stewards, nodes, health)
    api: list[Any] = [route for audience in audiences for route in audience.routes]
    return Litestar(
        route_handlers=[*allowed_methods(api), *api, page_routes(TownPageGatherer(service).gather)],
        lifespan=[lifespan],
        middleware=[limit_addresses(options.requests_per_minute)],
        before_request=check_numbers,
        request_max_body_size=options.max_body_bytes,
        exception_handlers={MusubiError: musubi_problem, HTTPException: http_problem, Exception: fault},
        openapi_config=OpenAPIConfig(
            title="Musubi",
            version="1",
            path="/openapi",
            render_plugins=[DescribedInterface()],
            use_handler_docstrings=True,
            operation_id_creator=lambda handler, _method, _path: operation_name(handler),
        ),
        logging_config=None,
        debug=False,
    )
