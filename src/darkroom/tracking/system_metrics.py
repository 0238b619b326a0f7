"""MLflow's own watch over processor, memory, disk, network and GPUs, written where everything else of a run is."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from mlflow.system_metrics import system_metrics_monitor

_Untyped: Any = system_metrics_monitor.SystemMetricsMonitor
Log = Callable[[Mapping[str, float], int], None]


class Monitor(_Untyped):  # type: ignore[misc]  # MLflow's has no types
    """Watches in a thread of its own; MLflow's would ask the store at each look, and end with the first silence."""

    def __init__(self, log: Log, run_id: str, uri: str, every: float, resumed: bool) -> None:
        super().__init__(run_id, sampling_interval=every, resume_logging=resumed, tracking_uri=uri)
        self._log = log

    def monitor(self) -> None:
        """Look until it is told to finish."""
        while not self._shutdown_event.is_set():
            for _ in range(self.samples_before_logging):
                self.collect_metrics()
                if self._shutdown_event.wait(self.sampling_interval):
                    return
            self.publish_metrics(self.aggregate_metrics())

    def publish_metrics(self, metrics: Mapping[str, float]) -> None:
        """Record what was seen since the last time."""
        prefix = self._metrics_prefix + (f"{self.node_id}/" if self.node_id else "")
        named = {f"{prefix}{key}": value for key, value in metrics.items() if math.isfinite(value)}
        self._log(named, self._logging_step)
        self._logging_step += 1
        for each in self.monitors:
            each.clear_metrics()

    def finish(self) -> None:
        """Stop, and record what was seen since the last report: for a short run, all there is."""
        super().finish()
        if metrics := self.aggregate_metrics():
            self.publish_metrics(metrics)


def start(log: Log, run_id: str, uri: str, every: float, *, resumed: bool) -> Any:
    """Begin to watch; a run that goes on counts its looks on from the last one on record."""
    monitor = Monitor(log, run_id, uri, every, resumed)
    monitor.start()
    return monitor
