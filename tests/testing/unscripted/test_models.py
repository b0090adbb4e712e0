import pytest

from siliconflow_async.testing.unscripted.models import capabilities, is_model


@pytest.mark.parametrize(
    ("model", "thinking"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", "none"),
        ("deepseek-ai/DeepSeek-V3", "none"),
        ("moonshotai/Kimi-K2-Instruct", "none"),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507", "none"),
        ("Qwen/Qwen3-Coder-30B-A3B-Instruct", "none"),
        ("THUDM/GLM-4-32B-0414", "none"),
        ("org/anything", "none"),
        ("Qwen/Qwen3-8B", "hybrid"),
        ("Qwen/Qwen3-235B-A22B", "hybrid"),
        ("deepseek-ai/DeepSeek-V3.1-Terminus", "hybrid"),
        ("deepseek-ai/DeepSeek-V3.2", "hybrid"),
        ("deepseek-ai/DeepSeek-V4", "hybrid"),
        ("Pro/zai-org/GLM-4.7", "hybrid"),
        ("zai-org/GLM-5.2", "hybrid"),
        ("Pro/moonshotai/Kimi-K2.5", "hybrid"),
        ("tencent/Hunyuan-A13B-Instruct", "hybrid"),
        ("deepseek-ai/DeepSeek-R1", "always"),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "always"),
        ("Qwen/Qwen3-30B-A3B-Thinking-2507", "always"),
        ("Qwen/QwQ-32B", "always"),
        ("moonshotai/Kimi-K2-Thinking", "always"),
        ("THUDM/GLM-Z1-9B-0414", "always"),
    ],
)
def test_a_name_tells_whether_the_model_thinks(model: str, thinking: str) -> None:
    assert capabilities(model).thinking == thinking


@pytest.mark.parametrize(
    ("model", "senses"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", ""),
        ("deepseek-ai/DeepSeek-V3", ""),
        ("Qwen/Qwen2.5-VL-72B-Instruct", "image video"),
        ("Qwen/Qwen3-VL-8B-Instruct", "image video"),
        ("Qwen/Qwen3-Omni-30B-A3B-Instruct", "image audio video"),
        ("deepseek-ai/deepseek-vl2", "image"),
        ("deepseek-ai/DeepSeek-OCR", "image"),
        ("zai-org/GLM-4.5V", "image video"),
        ("zai-org/GLM-4.6", ""),
        ("THUDM/GLM-4.1V-9B-Thinking", "image video"),
    ],
)
def test_a_name_tells_what_the_model_sees_and_hears(model: str, senses: str) -> None:
    able = capabilities(model)
    flags = {"image": able.vision, "audio": able.audio, "video": able.video}
    assert " ".join(name for name, flag in flags.items() if flag) == senses


def test_the_paid_copy_can_do_the_same() -> None:
    assert capabilities("Pro/Qwen/Qwen3-8B") == capabilities("Qwen/Qwen3-8B")


@pytest.mark.parametrize("model", ["org/name", "Pro/org/name", "org/name/variant"])
def test_every_org_and_name_is_a_model(model: str) -> None:
    assert is_model(model, None)


@pytest.mark.parametrize("model", ["", "gpt-4o", "org/", "/name", "Pro/name"])
def test_a_name_without_its_org_is_none(model: str) -> None:
    assert not is_model(model, None)


def test_a_list_of_models_leaves_out_all_others() -> None:
    known = frozenset({"org/a"})
    assert is_model("org/a", known)
    assert not is_model("org/b", known)
