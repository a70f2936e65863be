"""The service's memory as the log grows: resident set after a small log and after one ten times as long."""

import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.intake import sign_all
from trust.client.service import ServiceClient
from trust.log.pins import load_trust
from trust.town.founding import found_town
from trust.town.layout import lay_out
from trust.town.loader import load_town
from trust.town.processes import Processes
from trust.town.up import free_ports

RESIDENTS = 20_000


def run(residents: int = RESIDENTS) -> list[dict[str, Any]]:
    """Measure, and return one row."""
    town = load_town(Path(__file__).parent / "four_holders")
    with tempfile.TemporaryDirectory() as folder:
        port, witness_port = free_ports(None)
        layout = lay_out(town, Path(folder), residents=residents, port=port, witness_port=witness_port)
        processes = Processes(layout)
        try:
            processes.start_all([])
            service = psutil.Process(processes.pid("service"))
            with ServiceClient(layout.url, load_trust(layout.folder / "trust.json")) as client:
                found_town(layout, town, client)
                enrolments, grants = sign_all(layout, client)
                for body in enrolments:
                    client.post_bytes("/v1/enrolments", body)
                tenth = len(grants) // 10
                for body in grants[:tenth]:
                    client.post_bytes("/v1/grants", body)
                time.sleep(1)
                small = service.memory_info().rss
                for body in grants[tenth:]:
                    client.post_bytes("/v1/grants", body)
                time.sleep(1)
                large = service.memory_info().rss
        finally:
            processes.stop_all()
    return [
        {
            "name": "the service's memory with a log ten times as long ÷ before",
            "ratio": large / small,
            "target": "<= 1.2",
            "detail": f"{small / 2**20:.0f} MiB with {residents // 10:,} consents, {large / 2**20:.0f} MiB with {residents:,}",
        }
    ]
