"""A profile's wishes reach the runtime of every worker."""

import onnxruntime as ort
import pytest

from agent.errors import ModelError
from agent.host.memfd import memfd_of
from agent.schema.config import DetectConfig
from agent.supervisor import Conversation, Listeners, Supervisor, WorkerSettings
from agent.update.ports import Strain
from tests.supervisor.releases import release
from tests.vision import models
from tests.vision.peer import variant

CUDA = "CUDAExecutionProvider"


def supervisor(providers: list[str]) -> Supervisor:
    settings = WorkerSettings(
        device="d1",
        boot="0123456789ab",
        cameras=[],
        detect=DetectConfig(),
        default_fps=10,
        threads=1,
        memory_mb=1500,
        providers=providers,
    )
    talk = Conversation(settings, lambda _: memfd_of(models.onnx_model(), "model"), lambda _: -1)
    listeners = Listeners(lambda *_: None, lambda _: None, lambda: None)
    return Supervisor(settings, talk, listeners, lambda _: Strain())


@pytest.mark.skipif(
    CUDA in ort.get_available_providers(), reason="this build of ONNX Runtime has CUDA"
)
def test_a_provider_that_must_be_there_and_is_not_keeps_the_model_from_serving() -> None:
    host = supervisor([CUDA])
    with pytest.raises(ModelError, match=CUDA) as caught:
        host.serve(release(variant()))
    assert caught.value.code == "model.runtime_missing"
    host.serve(None)


@pytest.mark.skipif(
    CUDA in ort.get_available_providers(), reason="this build of ONNX Runtime has CUDA"
)
def test_a_provider_that_may_be_missing_is_logged_and_the_next_one_serves(
    caplog: pytest.LogCaptureFixture,
) -> None:
    host = supervisor([CUDA, "CPUExecutionProvider"])
    host.serve(release(variant()))
    host.serve(None)
    assert f"execution provider {CUDA} is not here" in caplog.text
