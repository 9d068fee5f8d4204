"""The routes of the dashboard."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from core.errors import EnvironmentFault, SweepError, UsageError
from dashboards.web import cluster, compare, ensemble, examples, figures, overview, sweep, trial
from dashboards.web.access import Access, Guard
from dashboards.web.data import Data, NotHere
from dashboards.web.shown import warm
from dashboards.web.site import HERE, Site

Page = Callable[[Site, Request], Response]
_log = logging.getLogger(__name__)

ROUTES: tuple[tuple[str, Page], ...] = (
    ("/", overview.overview),
    ("/cluster", cluster.cluster),
    ("/compare", compare.compare),
    ("/compare/plot", compare.plot),
    ("/ensemble", ensemble.ensemble),
    ("/sweep/{sweep}", sweep.sweep),
    ("/sweep/{sweep}/table.csv", sweep.table_csv),
    ("/sweep/{sweep}/trials.csv", sweep.trials_csv),
    ("/sweep/{sweep}/plot/{kind}", figures.plot),
    ("/trial/{trial}", trial.trial),
    ("/trial/{trial}/plot", trial.plot),
    ("/trial/{trial}/log", trial.log),
    ("/trial/{trial}/examples.csv", trial.examples_csv),
    ("/trial/{trial}/image/{key}/{digest}/{occurrence:int}/{number:int}", examples.image),
)


def create_app(data: Data, access: Access) -> Starlette:
    """The dashboard over ``data``, for those whom ``access`` lets in. It closes ``data`` when it is shut down."""
    site = Site(data)

    def endpoint(page: Page) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            # pages read files and a database: none of it may hold up another reader
            return await run_in_threadpool(_answered, site, page, request)

        return answer

    @asynccontextmanager
    async def running(_: Starlette) -> AsyncIterator[None]:
        data.start(lambda: warm(data))
        yield
        await run_in_threadpool(data.close)

    return Starlette(
        routes=[*(Route(path, endpoint(page)) for path, page in ROUTES), Mount("/static", StaticFiles(directory=HERE / "static"))],
        middleware=[Middleware(Guard, access=access)],
        exception_handlers={HTTPException: partial(_not_found, site), Exception: _broken},
        lifespan=running,
    )


def _answered(site: Site, page: Page, request: Request) -> Response:
    try:
        return page(site, request)
    except UsageError as error:
        return site.error(request, error, 404 if isinstance(error, NotHere) else 400)
    except SweepError as error:
        return site.error(request, error, 503 if isinstance(error, EnvironmentFault) else 500)


async def _not_found(site: Site, request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return site.error(request, UsageError("there is no such page", found=request.url.path[:200]), status)


async def _broken(request: Request, error: Exception) -> Response:
    _log.error("%s", request.url.path, exc_info=error)
    return PlainTextResponse("this page has failed; the server's log says how\n", 500)
