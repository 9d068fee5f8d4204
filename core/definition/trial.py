"""The schema of one trial: everything that a training run computes, by section.

Sections are hashed one by one (see :mod:`core.definition.identity`). Components (``head``, ``loss``, ``data.sources``,
``paradigm``, ``backbone``) are validated with the typed configuration that the registry holds for their name; the base
classes of those configurations stand here. Every default that the paper leaves open names its source.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, SerializeAsAny, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from core import registry
from core.definition.fields import Section, execution, identity, place
from core.definition.mixtures import spread
from core.definition.size import Size

PAPER = "BaseReward, arXiv 2509.16127"
CRITIC_RECIPE = "the paper is silent; MM-RLHF's critic_reward_7b.sh, by the same authors"
R1_RECIPE = "the paper is silent; R1-Reward's training defaults, by the same authors"

SHORTHAND = ("backbone", "paradigm", "head")
"""Sections for which ``section: X`` means ``section.name: X``, as a path too."""


class ParadigmConfig(Section):
    """Base of the configuration of a paradigm: how a reward is read out of a model.

    Class attributes say what of the rest of a trial the paradigm uses.
    """

    HEAD: ClassVar[bool] = True
    """Whether it trains a reward head with the terms of `loss`; without one, both sections are without effect."""

    PROMPT: ClassVar[Path | None] = None
    """The template that ships for it, used where `prompt.file` is null; ``None``: the prompt as it is."""

    PLACES: ClassVar[tuple[str, ...]] = ("prompt",)
    """What a template must have a place for."""

    ANNOTATES: ClassVar[Literal["critiques", "reasoning"] | None] = None
    """What a task `annotate` writes for it; ``None``: it learns from no written text."""

    REHEARSAL_STEPS: ClassVar[float] = 1.0
    """Factor on the steps of a rehearsal: what a tiny model needs more to learn this paradigm."""

    REHEARSAL_LR: ClassVar[float] = 1.0
    """Factor on the learning rate of a rehearsal, likewise."""

    name: str = identity(doc="the paradigm", source=PAPER + ", section 4.1")

    def rehearsed(self) -> Self:
        """What a tiny model follows in a rehearsal: texts that are no longer than generated preferences call for."""
        return self

    def annotations(self) -> str | None:
        """The reference of the need whose texts training reads beside the data; ``None``: it reads the data alone."""
        return None

    def waits(self) -> str | None:
        """What a trial of this paradigm waits for that no other trial gives; such a trial is blocked."""
        return None

    def twin_texts(self) -> list[str]:
        """Texts whose words the tokenizer of a tiny twin must know as one token each."""
        return [self.PROMPT.read_text(encoding="utf-8")] if self.PROMPT is not None else []


class BackboneConfig(Section):
    """Base of the configuration of a backbone.

    Class attributes say what a launch must know before anything heavy is imported.
    """

    HUB: ClassVar[Mapping[str, str]] = {}
    """Repository on the hub of each member; a member without one must be in a local folder."""

    SIZES: ClassVar[Mapping[str, Size]] = {}
    """Size of each member, from which a plan estimates memory and chooses how to divide the model; none where it is unknown."""

    READS: ClassVar[tuple[str, ...]] = ("text", "image", "video")
    """What the backbone can read."""

    MODEL_TYPE: ClassVar[str | None] = None
    """``model_type`` in the config.json of its checkpoints; ``None``: a launch does not look, and the model itself refuses another."""

    OTHERS: ClassVar[Mapping[str, str]] = {}
    """For a ``model_type`` that users are likely to bring instead: how to come from it to this one's."""

    FILES: ClassVar[tuple[str, ...]] = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
    """Files of its repository that are read; weights in other formats are not brought from the hub."""

    name: str = identity(doc="the pretrained model, by its name in the registry")
    revision: str | None = identity(None, doc="revision of the weights on the hub (a commit); null takes the registry's")
    min_pixels: int | None = identity(None, unit="pixels", ge=28 * 28, doc="smallest image area; null takes the backbone's own")
    max_pixels: int | None = identity(None, unit="pixels", ge=28 * 28, doc="largest image area; null takes the backbone's own")
    frames: int = identity(
        32, unit="frames", ge=1, doc="evenly spaced frames of a video, in order", source="MM-RLHF-RewardBench's protocol"
    )
    path: str | None = place(doc="local folder with the weights; null looks in $SWEEP_MODELS, then in the hub's cache")


class ExternalConfig(BackboneConfig):
    """Base of the configuration of a public reward model, which is scored as it is (task `external`).

    It stands where a backbone does, so that weights are named, looked for and brought in the same way.
    """

    REMOTE_CODE: ClassVar[bool] = False
    """Whether the model's folder holds Python that must run for a score: a definition says that it may."""

    trust_remote_code: bool = place(
        False, doc="whether the Python in the model's folder may run here; asked for by models of no class of transformers'"
    )


class HeadConfig(Section):
    """Base of the configuration of a reward head (features ``[batch, hidden]`` to rewards ``[batch]``)."""

    name: str = identity("mlp", doc="the kind of head")


class LossTermConfig(Section):
    """Base of the configuration of one term of the loss; the loss is the weighted sum of its terms."""

    weight: float = identity(1.0, ge=0, doc="weight of this term in the loss; 0 is the same as leaving it out")


class RewardTransformConfig(LossTermConfig):
    """Base of the configuration of an entry of the loss that adds no term: it changes the rewards that the terms see.

    Transforms run before all terms, in the order of their names. Only the loss sees what they make: metrics of training, and
    scoring, read the rewards as the head gives them.
    """

    weight: float = identity(1.0, doc="1 applies the transform, 0 is the same as leaving it out")

    @field_validator("weight")
    @classmethod
    def _on_or_off(cls, value: float) -> float:
        if value not in (0.0, 1.0):
            raise ValueError(f"a transform of the rewards has no coefficient: its weight is 1 or 0, not {value:g}")
        return value


class SourceConfig(Section):
    """Base of the configuration of one data source."""

    type: str = identity(doc="the registered type of source; default: the source's name where registered, else `file`")
    weight: float = identity(1.0, ge=0, doc="relative sampling weight of the source; 0 is the same as leaving it out")
    cap: int | None = identity(None, unit="pairs", ge=1, doc="use at most this many pairs, chosen by hash")


class BenchmarkConfig(Section):
    """Base of the configuration of one benchmark in ``evaluate``: part of the scoring's key, never of the trial's id."""

    NEEDS: ClassVar[tuple[str, ...]] = ()
    """Media that its rows carry: a backbone that does not read them all cannot be scored on it (*n/a*)."""

    name: str = identity(doc="the benchmark")
    data: str | None = place(doc="the benchmark's file; null looks in $SWEEP_DATA under the benchmark's own file names")
    media: str | None = place(doc="folder with the benchmark's images and videos; null: the folder of the file")
    commit: str | None = execution(
        None, doc="revision on the hub (a commit) to fetch and read; null takes what was fetched; what counts is the content's own revision"
    )
    frames: int = identity(32, unit="frames", ge=1, doc="evenly spaced frames read from a video, in order")
    max_pixels: int | None = identity(None, unit="pixels", doc="largest image area at scoring; null: as in training")
    votes: int = identity(
        1, absent=1, ge=1, unit="texts", doc="texts sampled per question from a model that writes, each a vote; 1 is greedy"
    )
    temperature: float = identity(1.0, absent=1.0, gt=0, doc="temperature of the votes; one vote alone is greedy whatever it says")


def _component(kind: str) -> Any:
    """Validate a section with the typed configuration registered under its ``name``."""

    def choose(value: Any) -> Any:
        if isinstance(value, str):
            value = {"name": value}
        if isinstance(value, dict):
            name = value.get("name", "mlp" if kind == "head" else None)
            if isinstance(name, str):
                return registry.get(kind, name).config.model_validate({**value, "name": name})
        return value

    return BeforeValidator(choose)


def named(name: str | int, config: type[BaseModel], value: dict[str, Any]) -> BaseModel:
    """Validate one entry of a mapping or list of components, so that an error's location holds its name."""
    try:
        return config.model_validate(value)
    except ValidationError as error:
        lines: list[InitErrorDetails] = []
        for line in error.errors(include_url=False):
            kind: Any = line["type"]
            if kind in ("value_error", "assertion_error"):
                kind = PydanticCustomError("value_error", "{reason}", {"reason": line["msg"].partition(", ")[2] or line["msg"]})
            lines.append(InitErrorDetails(type=kind, loc=(name, *line["loc"]), input=line["input"], ctx=line.get("ctx", {})))
        raise ValidationError.from_exception_data(error.title, lines) from None


def _loss_terms(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {
        name: named(name, registry.get("loss", name).config, term or {}) if isinstance(term, dict) or term is None else term
        for name, term in value.items()
    }


def _sources(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    out: dict[str, Any] = {}
    for name, source in value.items():
        if source is None:
            source = {}
        if isinstance(source, dict):
            kind = str(source.get("type", name if registry.has("source", name) else "file"))
            source = named(name, registry.get("source", kind).config, {**source, "type": kind})
        out[name] = source
    return out


Entry = TypeVar("Entry", SourceConfig, LossTermConfig)


def weighted(entries: dict[str, Entry]) -> dict[str, Entry]:
    """The entries that have a weight, each in its canonical form: weight 0 is the same as leaving one out."""
    return {name: entry.canonical() for name, entry in entries.items() if entry.weight != 0}


Sources = Annotated[dict[str, SerializeAsAny[SourceConfig]], BeforeValidator(_sources)]
Loss = Annotated[dict[str, SerializeAsAny[LossTermConfig]], BeforeValidator(_loss_terms)]


class MixtureConfig(Section):
    """How the sources are put together, beyond their weights and caps."""

    name: str | None = execution(
        None, doc="a named mixture, whose sources and settings stand below those that are given; `sweep data show` lists them"
    )
    text_ratio: float | None = identity(
        None, gt=0, doc="text pairs for each multimodal pair in an epoch (1:0.5 is 0.5); null takes what sizes and weights give"
    )
    dedup: Literal["none", "within", "across"] = identity(
        "none", doc="leave out pairs that come again: in their own source, or in any; the first by the sources' names stays"
    )
    decontaminate: tuple[str, ...] = identity((), doc="benchmarks whose questions are left out of the training pairs and counted")

    @field_validator("decontaminate")
    @classmethod
    def _known_benchmarks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            registry.get("benchmark", name)
        return tuple(sorted(set(value)))

    def canonical(self) -> Self:
        """The name is what it stands for."""
        return self.model_copy(update={"name": None})


class DataConfig(Section):
    """What is trained on."""

    sources: Sources = identity(doc="data sources by name, each with its weight, cap and own fields")
    held_out: int = identity(
        1000,
        unit="pairs",
        ge=0,
        doc="pairs held out by hash for validation (set by `validation.items`)",
        source=PAPER + ", section 4.7: 1,000 items sampled uniformly from the training sets",
    )

    mixture: MixtureConfig | None = identity(None, absent=None, doc="how sources are put together; `mixture: NAME` is a named one")

    @model_validator(mode="before")
    @classmethod
    def _mixture_by_name(cls, value: Any) -> Any:
        return spread(value)

    def canonical(self) -> Self:
        """Sources of weight 0 are left out, a mixture is what its name stands for, and one that does nothing is none."""
        mixture = self.mixture.canonical() if self.mixture is not None else None
        return self.model_copy(update={"sources": weighted(self.sources), "mixture": None if mixture == MixtureConfig() else mixture})


class OptimConfig(Section):
    """The optimiser and its schedule."""

    name: Literal["adamw"] = identity("adamw", doc="the optimiser", source=R1_RECIPE)
    lr: float = identity(3e-6, gt=0, doc="peak learning rate", source=PAPER + ", section 5.1: best of 1e-5, 3e-6, 1e-6, 3e-7")
    weight_decay: float = identity(0.0, ge=0, doc="decoupled weight decay", source=CRITIC_RECIPE)
    betas: tuple[float, float] = identity((0.9, 0.95), doc="decay rates of AdamW's two moments", source=R1_RECIPE)
    eps: float = identity(1e-8, gt=0, doc="AdamW's epsilon", source="torch's default")
    grad_clip: float = identity(1.0, ge=0, doc="largest gradient norm; 0 leaves it alone", source=R1_RECIPE)
    schedule: Literal["cosine", "linear", "constant"] = identity(
        "cosine", doc="how the learning rate falls to 0 after warm-up", source=CRITIC_RECIPE
    )
    warmup: float = identity(0.1, ge=0, lt=1, unit="fraction of training", doc="linear warm-up", source=CRITIC_RECIPE)


class EarlyStopConfig(Section):
    """When training ends before its budget."""

    metric: Literal["accuracy", "loss"] = identity("accuracy", doc="validation metric that is watched")
    patience: int = identity(3, ge=1, unit="validations", doc="validations without improvement after which training ends")
    min_delta: float = identity(0.0, ge=0, doc="smallest change that counts as an improvement")


class LoraConfig(Section):
    """Low-rank adapters: the language model stays as it is, and small matrices beside its linear layers are trained."""

    rank: int = identity(16, ge=1, doc="rank of the adapters", source="the paper trains all weights; peft's examples")
    alpha: float = identity(32.0, gt=0, doc="the adapters count alpha / rank times", source="the same")
    dropout: float = identity(0.0, ge=0, lt=1, doc="dropout before the adapters", source="peft's default")
    targets: tuple[str, ...] = identity(
        ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        min_length=1,
        doc="linear layers of the language model that get one, by the last part of their names",
        source="QLoRA, arXiv 2305.14314, section 4: all linear layers",
    )

    def canonical(self) -> Self:
        """The layers have no order."""
        return self.model_copy(update={"targets": tuple(sorted(set(self.targets)))})


BUDGETS = ("epochs", "steps", "pairs", "tokens")
"""Exactly one of these sets how long training lasts; in a later layer of the definition one replaces another."""


class TrainConfig(Section):
    """How long, in what precision and which parts are trained."""

    epochs: float | None = identity(None, gt=0, unit="epochs", doc="budget in passes over the data", source=CRITIC_RECIPE + ": 1")
    steps: int | None = identity(None, ge=0, unit="optimiser steps", doc="budget in optimiser steps; 0 scores the model untrained")
    pairs: int | None = identity(None, ge=1, unit="pairs", doc="budget in preference pairs")
    tokens: int | None = identity(None, ge=1, unit="tokens", doc="budget in tokens of prompt and responses, images included")
    batch: int = identity(128, ge=1, unit="pairs", doc="effective batch, whatever the number of GPUs", source=PAPER + ", section 5.1")
    max_length: int = identity(
        32768,
        ge=16,
        unit="tokens",
        source=CRITIC_RECIPE,
        doc="longest prompt and response together; the prompt's text is cut from the left, a response never",
    )
    dtype: Literal["bf16", "fp32"] = identity(
        "bf16", doc="precision of the forward pass; weights, head and loss stay in fp32", source=CRITIC_RECIPE
    )
    freeze: tuple[Literal["vision", "merger", "language"], ...] = identity(
        ("vision",),
        doc="parts that are not trained (the head always is)",
        source=CRITIC_RECIPE + ": projector and language model are tuned, vision is frozen",
    )
    lora: LoraConfig | None = identity(
        None, absent=None, doc="train low-rank adapters in place of the language model's weights: {rank, alpha, dropout, targets}"
    )
    select: Literal["last", "best"] = identity("last", doc="which weights are kept (set by `checkpoint.select`)")
    early_stop: EarlyStopConfig | None = identity(None, doc="stop when validation no longer improves")
    validate_every: float | None = identity(
        None,
        gt=0,
        le=1,
        unit="fraction of training",
        doc="time between validations; set by `validation.every` where it decides the result (early stop, select: best)",
    )

    @model_validator(mode="after")
    def _one_budget(self) -> TrainConfig:
        given = [name for name in BUDGETS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"exactly one of {', '.join(BUDGETS)} sets the budget; found {', '.join(given) or 'none'}")
        return self

    def canonical(self) -> Self:
        """The frozen parts have no order, adapters freeze the language model, and the time between validations counts only where it
        decides the result."""
        decides = self.early_stop is not None or self.select == "best"
        frozen = {*self.freeze, *(("language",) if self.lora is not None else ())}
        return self.model_copy(
            update={
                "freeze": tuple(sorted(frozen)),
                "lora": None if self.lora is None else self.lora.canonical(),
                "validate_every": self.validate_every if decides else None,
            }
        )


class PromptConfig(Section):
    """The plain-text template around a prompt; ``{prompt}`` stands for it."""

    file: str | None = place(doc="the template's file; null leaves the prompt as it is")
    sha: str | None = identity(None, doc="sha256 of the template's text (filled in when the definition is loaded)")


class RehearsalConfig(Section):
    """What a rehearsal changes: part of the identity, so that its trials never meet real ones."""

    steps: int = identity(80, ge=1, unit="optimiser steps", doc="budget of every trial, whatever the definition says")
    batch: int = identity(16, ge=1, unit="pairs", doc="effective batch")
    pairs: int = identity(640, ge=8, unit="pairs", doc="generated pairs per source")
    items: int = identity(128, ge=1, unit="pairs", doc="pairs held out, and rows of each generated benchmark")
    real_data: int | None = identity(
        None,
        absent=None,
        ge=4,
        unit="rows",
        doc="take the first rows of every source and benchmark that is on this machine instead of generated ones (set by --real-data)",
    )
    lr_scale: float = identity(1000.0, gt=0, doc="factor on the learning rate: a 64-wide model wants larger steps")


DEFAULT_MICRO_BATCH = 8
"""Pairs in one forward pass where ``execution.micro_batch`` is null."""


class ExecutionConfig(Section):
    """How a trial is executed; nothing here changes what it computes beyond rounding."""

    micro_batch: int | None = execution(
        None, ge=1, unit="pairs", doc="pairs in one forward pass; null takes 8, or the whole batch if smaller"
    )
    ranks: int | None = execution(
        None, ge=1, unit="processes", doc="processes of a trial, which divide each batch; null: one per GPU (without GPUs: one)"
    )
    zero: Literal["auto", 0, 1, 2, 3] = execution(
        "auto",
        doc="DeepSpeed's ZeRO stage; auto: none for one process that fits on its GPU, else the first of 2, 3 and 3 with offload that fits",
    )
    offload: Literal["auto", "none", "optimizer", "all"] = execution(
        "auto", doc="what lies in the host's memory: nothing, the optimiser's states, or all states (ZeRO-3); auto: what must"
    )
    activation_checkpointing: bool = execution(False, doc="recompute activations in the backward pass to save memory")
    attention: Literal["sdpa", "eager", "flash_attention_2"] = execution("sdpa", doc="attention implementation of transformers")
    threads: int | None = execution(None, ge=1, unit="threads", doc="CPU threads of a trial; null takes them from the shape")
    log_every: int = execution(1, ge=1, unit="steps", doc="optimiser steps between logged training metrics")
    validate_every: float = execution(
        0.1, gt=0, le=1, unit="fraction of training", doc="time between validations (set by `validation.every`)"
    )
    checkpoint_every: float = execution(1200.0, gt=0, unit="seconds", doc="time between checkpoints (set by `checkpoint.every`)")
    checkpoint_steps: int | None = execution(
        None, ge=1, unit="steps", doc="steps between checkpoints instead (set by `checkpoint.every: 50steps`)"
    )
    checkpoint_keep: int = execution(1, ge=1, unit="checkpoints", doc="checkpoints kept while training (set by `checkpoint.keep`)")
    checkpoint_after: Literal["weights", "resume"] = execution(
        "weights", doc="what stays at the end: the weights alone, or the resume state too (set by `checkpoint.after`)"
    )

    @field_validator("zero", mode="before")
    @classmethod
    def _stage(cls, value: Any) -> Any:
        return int(value) if isinstance(value, str) and value.isdigit() else value

    @model_validator(mode="after")
    def _offload_fits(self) -> ExecutionConfig:
        if self.offload == "all" and self.zero not in ("auto", 3):
            raise ValueError(f"offload: all needs zero: 3, which divides the weights (found zero: {self.zero})")
        if self.offload == "optimizer" and self.zero == 0:
            raise ValueError("offload: optimizer needs zero: 1, 2 or 3, which divide the optimiser's states (found zero: 0)")
        return self


class AnnotateConfig(Section):
    """Who writes what a paradigm learns from, and how often it is asked (task `annotate`)."""

    model: str | None = identity(None, doc="a model at the endpoint, such as gpt-4o; null: the trial's own backbone, here")
    endpoint: str | None = place(doc="address of an OpenAI-compatible server, such as https://api.openai.com/v1")
    key_env: str = place("OPENAI_API_KEY", doc="environment variable that holds the key; its value is written nowhere")
    tries: int = identity(3, ge=1, unit="texts", doc="texts per question until one can be used", source="R1-Reward, section 3: 3")
    temperature: float = identity(1.0, gt=0, doc="of the second text on; the first is greedy", source="the paper's writer is greedy")
    parallel: int = execution(8, ge=1, unit="requests", doc="questions that an endpoint answers at once")


class TrialConfig(Section):
    """One trial: cell x seed. :func:`core.definition.identity.trial_id` hashes its identity fields."""

    task: Literal["reward_model", "annotate", "external"] = identity(
        "reward_model",
        doc="a reward model is trained, the texts are written that one learns from, or a public reward model is scored as it is",
    )
    paradigm: Annotated[SerializeAsAny[ParadigmConfig], _component("paradigm")] = identity(
        doc="how a reward is read out of the model", default_factory=lambda: registry.get("paradigm", "naive").config(name="naive")
    )
    backbone: Annotated[SerializeAsAny[BackboneConfig], _component("backbone")] = identity(doc="the pretrained model")
    head: Annotated[SerializeAsAny[HeadConfig], _component("head")] = identity(
        doc="the reward head", default_factory=lambda: registry.get("head", "mlp").config()
    )
    data: DataConfig = identity(doc="what is trained on")
    loss: Loss = identity(
        doc="terms of the loss by name", default_factory=lambda: {"bradley_terry": registry.get("loss", "bradley_terry").config()}
    )
    optim: OptimConfig = identity(doc="optimiser and schedule", default_factory=OptimConfig)
    train: TrainConfig = identity(doc="budget, batch, precision and frozen parts")
    prompt: PromptConfig = identity(doc="template around the prompt", default_factory=PromptConfig)
    annotate: AnnotateConfig | None = identity(None, absent=None, doc="who writes, where the task is `annotate`")
    seed: int = identity(0, ge=0, doc="seed of every random stream; never an axis: use `seeds`")
    rehearsal: RehearsalConfig | None = identity(None, doc="present in a rehearsal (set by --rehearse)")
    execution: ExecutionConfig = execution(doc="how the trial is executed", default_factory=ExecutionConfig)

    @property
    def micro_batch(self) -> int:
        """Pairs in one forward pass, as the trial really uses them."""
        return self.micro_batch_of(1)

    def micro_batch_of(self, ranks: int) -> int:
        """Pairs in one forward pass of each of so many processes."""
        return min(self.execution.micro_batch or DEFAULT_MICRO_BATCH, self.effective().train.batch // ranks)

    def effective(self) -> TrialConfig:
        """The configuration that training really follows: in a rehearsal with the rehearsal's budget, batch and learning rate."""
        if self.rehearsal is None:
            return self
        r = self.rehearsal
        return self.model_copy(
            update={
                "paradigm": self.paradigm.rehearsed(),
                "optim": self.optim.model_copy(update={"lr": self.optim.lr * r.lr_scale * self.paradigm.REHEARSAL_LR}),
                "train": self.train.model_copy(
                    update={
                        "epochs": None,
                        "pairs": None,
                        "tokens": None,
                        "steps": 0 if self.train.steps == 0 else round(r.steps * self.paradigm.REHEARSAL_STEPS),
                        "batch": r.batch,
                        "dtype": "fp32",
                        "max_length": min(self.train.max_length, 512 if r.real_data is None else 16384),
                    }
                ),
                "data": self.data.model_copy(update={"held_out": r.items if r.real_data is None else min(r.items, r.real_data // 4)}),
            }
        )
