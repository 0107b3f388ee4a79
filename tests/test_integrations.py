"""The real Hugging Face Trainer."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForMaskedLM, BertConfig, BertForMaskedLM, Trainer, TrainingArguments

from tut.errors import TutError
from tut.integrations import UntieCallback


def data(count: int = 24) -> list[dict[str, torch.Tensor]]:
    random = torch.Generator().manual_seed(0)
    rows = torch.randint(3, 53, (count, 8), generator=random)
    return [{"input_ids": row, "labels": row} for row in rows]


def bert() -> BertForMaskedLM:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    return BertForMaskedLM(BertConfig(vocab_size=53, max_position_embeddings=32, **sizes))


def trainer(folder: Path, *callbacks, epochs: int = 5) -> Trainer:
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=epochs,
        per_device_train_batch_size=4,
        learning_rate=1e-2,
        report_to=[],
        use_cpu=True,
        save_strategy="epoch",
        logging_strategy="no",
        disable_tqdm=True,
        seed=1,
    )
    return Trainer(bert(), arguments, train_dataset=data(), callbacks=list(callbacks))


def test_it_unties_at_the_epoch_and_not_before(tmp_path: Path) -> None:
    distances = []

    class Watch(UntieCallback):
        def on_step_end(self, args, state, control, **parts):
            model = parts["model"]
            e, u = model.get_input_embeddings().weight, model.get_output_embeddings().weight
            distances.append((e - u).norm().item())

    run = trainer(tmp_path, Watch(epoch=3))
    run.train()
    assert len(distances) == 30
    assert distances[:18] == [0.0] * 18
    assert all(distance > 0 for distance in distances[18:])
    run.save_model(str(tmp_path / "final"))
    loaded = AutoModelForMaskedLM.from_pretrained(tmp_path / "final")
    ids = torch.arange(3, 11)[None]
    assert torch.equal(loaded.eval()(ids).logits, run.model.eval()(ids).logits)


@pytest.mark.parametrize("length", [{"max_steps": 20}, {"num_train_epochs": 3.5}], ids=str)
def test_a_partial_last_epoch_does_not_move_the_untie_point(length: dict, tmp_path: Path) -> None:
    run = trainer(tmp_path, callback := UntieCallback(epoch=2))
    for name, value in length.items():
        setattr(run.args, name, value)
    tied_until = []

    class Watch(UntieCallback):
        def on_init_end(self, args, state, control, **parts):
            pass

        on_train_begin = on_init_end

        def on_step_end(self, args, state, control, **parts):
            if parts["model"].config.tie_word_embeddings:
                tied_until.append(state.global_step)

    run.add_callback(Watch(epoch=1))
    run.train()
    assert tied_until[-1] == 12
    assert callback is not None


def test_until_then_it_is_the_plain_trainer(tmp_path: Path) -> None:
    plain = trainer(tmp_path / "a")
    plain.train()
    ours = trainer(tmp_path / "b", UntieCallback(step=29))
    ours.train()
    a = AutoModelForMaskedLM.from_pretrained(tmp_path / "a/checkpoint-24")
    b = AutoModelForMaskedLM.from_pretrained(tmp_path / "b/checkpoint-24")
    assert torch.equal(a.get_input_embeddings().weight, b.get_input_embeddings().weight)
    assert torch.equal(b.get_output_embeddings().weight, b.get_input_embeddings().weight)
    ids = torch.arange(3, 11)[None]
    assert not torch.equal(plain.model.eval()(ids).logits, ours.model.eval()(ids).logits)


def test_resuming(tmp_path: Path) -> None:
    straight = trainer(tmp_path, UntieCallback(epoch=2))
    straight.train()
    again = trainer(tmp_path, UntieCallback(epoch=2))
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-12"))
    ids = torch.arange(3, 11)[None]
    torch.testing.assert_close(again.model.eval()(ids).logits, straight.model.eval()(ids).logits)
    with pytest.raises(TutError, match="resumes at step 18, past the untie point 12"):
        trainer(tmp_path, UntieCallback(epoch=2)).train(resume_from_checkpoint=str(tmp_path / "checkpoint-18"))


def test_bad_points() -> None:
    with pytest.raises(TutError, match="untie.epoch=1 and untie.step=4"):
        UntieCallback(epoch=1, step=4)
    with pytest.raises(TutError, match="untie.init=random"):
        UntieCallback(epoch=1, init="random")


def test_a_point_past_the_end(tmp_path: Path) -> None:
    with pytest.raises(TutError, match="untie.epoch=9: that is step 54, past the end of training at step 30"):
        trainer(tmp_path, UntieCallback(epoch=9)).train()
