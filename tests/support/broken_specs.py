"""A sound plugin of each kind, and one broken in a single way for every check of the kit. Imports nothing heavy.

What the specs build is in `broken_parts`: a spec names the part, and the part is sound but for its one fault.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, Field, PrivateAttr, field_validator

from cryoreg.errors import DataError
from cryoreg.specs import AugmentationSpec, DatasetSpec, EncoderSpec, LearnerSpec, MethodSpec, QuerySpec, Spec
from cryoreg.weights.specs import FileWeightsSpec


class SoundEncoder(EncoderSpec):
    """One convolution and the mean of its map.

    Written for this test.
    """

    min_box: ClassVar[int] = 4
    part: ClassVar[str] = "Net"

    width: int = Field(8, ge=1, le=64, description="filters")

    def build(self) -> Any:
        from support import broken_parts

        return getattr(broken_parts, self.part)(self.width)


class SoundMethod(MethodSpec):
    """Tell a view's partner from the other subtomograms of the batch.

    Written for this test.
    """

    part: ClassVar[str] = "Contrast"
    min_batch: ClassVar[int] = 2

    temperature: float = Field(0.2, gt=0, description="τ")

    def build(self, encoder: Any) -> Any:
        from support import broken_parts

        return getattr(broken_parts, self.part)(encoder, self.temperature)


class SoundLearner(LearnerSpec):
    """Cross-entropy of a linear layer.

    Written for this test.
    """

    part: ClassVar[str] = "Pupil"

    smoothing: float = Field(0.05, ge=0, lt=1, description="of the labels")

    def build(self, encoder: Any, classes: int) -> Any:
        from support import broken_learners

        return getattr(broken_learners, self.part)(encoder, classes, self.smoothing)


class SoundQuery(QuerySpec):
    """Rows at random.

    Written for this test.
    """

    part: ClassVar[str] = "Ask"
    needs_labels: ClassVar[bool] = False

    def build(self) -> Any:
        from support import broken_queries

        return getattr(broken_queries, self.part)()


class SoundAugmentation(AugmentationSpec):
    """Brighter or darker, with noise.

    Written for this test.
    """

    part: ClassVar[str] = "Noise"

    strength: float = Field(0.1, ge=0, description="standard deviation of the noise")

    def build(self) -> Any:
        from support import broken_parts

        return getattr(broken_parts, self.part)(self.strength)


class SoundDataset(DatasetSpec):
    """An array of volumes in a file.

    Written for this test.
    """

    part: ClassVar[str] = "Volumes"

    root: Path = Field(description="the file")

    @classmethod
    def fits(cls, path: Path) -> str | None:
        return "the extension .npy" if path.suffix == ".npy" and path.is_file() else None

    def build(self) -> Any:
        from support import broken_parts

        return getattr(broken_parts, self.part)(self.root)


class SoundWeights(FileWeightsSpec):
    """A small RB3D of random weights.

    Written for this test.
    """

    part: ClassVar[str] = "weights"
    license: ClassVar[str] = "MIT"
    evaluated: ClassVar[str] = "on nothing"
    recipe: ClassVar[dict[str, dict[str, object]]] = {"training": {"epochs": 3}}

    @classmethod
    def path(cls) -> Path:
        from support import broken_parts

        return getattr(broken_parts, cls.part)()


SOUND: tuple[type[Spec], ...] = (
    SoundEncoder,
    SoundMethod,
    SoundAugmentation,
    SoundDataset,
    SoundWeights,
    SoundLearner,
    SoundQuery,
)

PARTS: dict[type[Spec], dict[str, str]] = {
    SoundEncoder: {
        "check_build_returns_an_encoder": "NetOfNoContract",
        "check_feature_vector_shape": "NetThatMiscounts",
        "check_feature_map_shape": "NetWithoutMap",
        "check_features_are_finite": "NetThatDivides",
        "check_fresh_features_differ": "NetOfUnits",
        "check_eval_is_deterministic": "NetThatDraws",
        "check_eval_is_batch_independent": "NetOfBatches",
        "check_input_is_left_alone": "NetThatWrites",
        "check_every_parameter_gets_a_gradient": "NetWithSpare",
        "check_state_dict_round_trip": "NetWithSecret",
        "check_bfloat16_is_close_to_float32": "NetUnderAutocast",
        "check_compiles": "NetThatBranches",
    },
    SoundMethod: {
        "check_build_returns_a_method_around_the_encoder": "ContrastOfCopy",
        "check_loss_is_a_finite_float32_scalar": "ContrastOfOneRow",
        "check_smallest_batch_teaches": "ContrastOfCrowds",
        "check_features_are_the_encoders": "ContrastWithGraph",
        "check_views_are_left_alone": "ContrastThatWrites",
        "check_loss_falls_on_a_fixed_batch": "ContrastUphill",
        "check_no_parameter_is_idle": "ContrastWithSpare",
        "check_same_seed_same_run": "ContrastOfChance",
        "check_resumed_run_equals_an_uninterrupted_one": "ContrastThatForgets",
        "check_evaluation_changes_no_state": "ContrastThatCounts",
        "check_after_step_leaves_trained_weights_alone": "ContrastThatPushes",
        "check_two_processes_keep_one_state": "ContrastAlone",
        "check_collapse_shows_in_the_features": "ContrastThatHides",
        "check_collapsed_loss_is_that_of_a_collapsed_encoder": "ContrastThatClaims",
    },
    SoundAugmentation: {
        "check_shape_and_dtype_stay": "NoiseOfDoubles",
        "check_views_are_finite": "NoiseThatDivides",
        "check_input_is_not_written": "NoiseThatWrites",
        "check_same_seed_same_result": "NoiseOfSeed",
        "check_other_seed_other_result": "NoNoise",
        "check_samples_are_independent": "NoiseOfBatches",
        "check_global_generators_stay": "NoiseThatDraws",
        "check_device_is_kept": "NoiseOnDefaultDevice",
        "check_it_survives_spawn": "NoiseWithLambda",
    },
    SoundDataset: {
        "check_files_are_left_alone": "VolumesWithCache",
        "check_length_is_that_of_labels_ids_and_groups": "VolumesWithMoreGroups",
        "check_lists_are_lists": "VolumesWithArrays",
        "check_groups_are_names": "VolumesOfNumberedTomograms",
        "check_volumes_are_finite": "VolumesWithHoles",
        "check_box_and_voxel_size_are_numbers": "VolumesOfNoSize",
        "check_labels_index_the_classes": "VolumesOfUnknownClass",
        "check_no_class_means_unknown": "VolumesOfNoClass",
        "check_ids_are_unique": "VolumesOfOneName",
        "check_what_is_known_is_spelt_as_it_is_read": "VolumesOfContrasts",
        "check_what_is_known_has_its_form": "VolumesOfWhiteness",
        "check_volumes_are_float32_of_the_box": "VolumesOfDoubles",
        "check_samples_agree_with_the_lists": "VolumesOfOtherNames",
        "check_same_index_same_volume": "VolumesInMemory",
        "check_beyond_the_end_is_an_index_error": "VolumesWithoutEnd",
        "check_it_survives_spawn": "VolumesWithLambda",
    },
    SoundLearner: {
        "check_build_returns_a_learner": "PupilOfAnotherEncoder",
        "check_loss_is_a_finite_float32_scalar": "PupilOfDoubles",
        "check_lesson_is_left_alone": "PupilThatWrites",
        "check_answers_have_their_shapes": "PupilWithFewFeatures",
        "check_each_is_answered_by_itself": "PupilOfBatches",
        "check_answers_leave_the_learner_alone": "PupilThatCounts",
        "check_it_tells_taught_classes_apart": "PupilThatSwaps",
        "check_validation_labels_are_not_learnt_from": "PupilThatCheats",
        "check_no_parameter_is_idle": "PupilWithSpare",
        "check_it_may_be_kept_after_the_last_epoch": "PupilNeverReady",
        "check_same_seed_same_run": "PupilOfChance",
        "check_resumed_run_equals_an_uninterrupted_one": "PupilThatForgets",
        "check_saved_state_answers": "PupilThatSavesTooLittle",
        "check_two_processes_keep_one_state": "PupilAlone",
    },
    SoundQuery: {
        "check_build_returns_a_query": "AskWithoutContract",
        "check_it_chooses_as_many_rows_as_are_wanted": "AskForOneMore",
        "check_chosen_rows_differ_and_have_no_label": "AskTwice",
        "check_all_are_chosen_where_more_are_wanted": "AskInPart",
        "check_pool_is_left_alone": "AskThatWrites",
        "check_same_generator_same_choice": "AskByChance",
        "check_it_begins_without_labels": "AskOnlyWithLabels",
    },
    SoundWeights: {
        "check_file_is_sound": "weights_with_a_flipped_bit",
        "check_card_says_what_users_must_know": "weights_of_no_contrast",
        "check_card_names_no_place": "weights_with_a_path",
        "check_encoder_is_registered": "weights_of_another_width",
        "check_features": "weights_that_miscount",
    },
}
"""Sound spec -> check -> the part that it must catch, and no other."""


def _with_part(sound: type[Spec], part: str) -> type[Spec]:
    """Return a spec of this module, so that it can be pickled, that builds another part."""
    members = {"part": part, "__doc__": sound.__doc__, "__module__": __name__, "__annotations__": {}}
    spec = globals()[f"{part}Spec"] = type(f"{part}Spec", (sound,), members)
    return spec


FAULTY: dict[tuple[type[Spec], str], type[Spec]] = {
    (sound, check): _with_part(sound, part) for sound, parts in PARTS.items() for check, part in parts.items()
}


class FitsAll(SoundDataset):
    """Takes whatever it sees.

    Written for this test.
    """

    @classmethod
    def fits(cls, path: Path) -> str | None:
        return "something" if path.exists() else None


class FitsOthers(SoundDataset):
    """Does not know its own files.

    Written for this test.
    """

    @classmethod
    def fits(cls, path: Path) -> str | None:
        return "the extension .other" if path.suffix == ".other" else None


class FitsSlowly(SoundDataset):
    """Imports torch to look at a name.

    Written for this test.
    """

    @classmethod
    def fits(cls, path: Path) -> str | None:
        import torch  # noqa: F401  (the fault)

        return super().fits(path)


FAULTY |= {
    (SoundDataset, "check_fits_leaves_other_files_alone"): FitsAll,
    (SoundDataset, "check_fits_knows_its_own_data"): FitsOthers,
    (SoundDataset, "check_fits_imports_no_torch"): FitsSlowly,
}


class Unlicensed(SoundWeights):
    """Does not say what one may do with it.

    Written for this test.
    """

    license: ClassVar[str] = ""


class Untried(SoundWeights):
    """Does not say how well it does.

    Written for this test.
    """

    evaluated: ClassVar[str] = ""


class Fresh(SoundWeights):
    """Has random weights, whatever is in the file.

    Written for this test.
    """

    def build(self) -> Any:
        from cryoreg.encoders.specs import RB3DSpec

        return RB3DSpec(width=2).build().eval()


class Misspelt(SoundWeights):
    """Has a recipe that nothing takes.

    Written for this test.
    """

    recipe: ClassVar[dict[str, dict[str, object]]] = {"training": {"epoch": 3}}


FAULTY |= {
    (SoundWeights, "check_licence_is_named"): Unlicensed,
    (SoundWeights, "check_evaluation_is_told"): Untried,
    (SoundWeights, "check_deterministic"): Fresh,
    (SoundWeights, "check_recipe_resolves"): Misspelt,
}


class ClaimsTooMuch(SoundEncoder):
    """Takes volumes of a single voxel, it says.

    Written for this test.
    """

    min_box: ClassVar[int] = 1


class RefusesRudely(SoundEncoder):
    """Refuses boxes without a word on them.

    Written for this test.
    """

    def check_box(self, box: tuple[int, int, int]) -> None:
        if min(box) < 4:
            raise ValueError("bad box")


class Silent(SoundEncoder):
    width: int = Field(8, ge=1, le=64, description="filters")


class Brief(SoundEncoder):
    """A summary, and no more."""


class Helpless(SoundEncoder):
    """A field without help.

    Written for this test.
    """

    width: int = Field(8, ge=1)


class Overdone(SoundEncoder):
    """A default beyond its own limit.

    Written for this test.
    """

    rate: float = Field(-1.0, ge=0, description="not used")


class Unready(SoundEncoder):
    """Cannot be built unless told how.

    Written for this test.
    """

    model: str = Field("absent", description="a name")

    def build(self) -> Any:
        if self.model == "absent":
            raise DataError("there is no model absent")
        return super().build()


class Doubling(SoundEncoder):
    """Takes twice what it is told.

    Written for this test.
    """

    @field_validator("width")
    @classmethod
    def _twice(cls, value: int) -> int:
        return 2 * value


class Unpicklable(SoundEncoder):
    """Has a function as a part of its state.

    Written for this test.
    """

    _act: Any = PrivateAttr(default_factory=lambda: lambda: math.pi)


class Clamping(SoundEncoder):
    """Moves a value into its limits without a word.

    Written for this test.
    """

    @field_validator("width", mode="before")
    @classmethod
    def _clamp(cls, value: int) -> int:
        return max(1, value)


class Forgiving(SoundEncoder):
    """Takes fields that it does not know.

    Written for this test.
    """

    model_config = ConfigDict(extra="ignore")


FAULTY_SPECS: dict[str, Spec] = {
    "check_takes_the_boxes_it_claims": ClaimsTooMuch(),
    "check_refuses_other_boxes_clearly": RefusesRudely(),
    "check_spec_has_a_summary": Silent(),
    "check_spec_cites_its_source": Brief(),
    "check_every_field_has_help": Helpless(),
    "check_defaults_keep_their_own_limits": Overdone(rate=1.0),
    "check_defaults_build": Unready(model="there"),
    "check_json_round_trip": Doubling(),
    "check_pickle_round_trip": Unpicklable(),
    "check_values_outside_the_limits_are_refused": Clamping(),
    "check_unknown_fields_are_refused": Forgiving(),
}
"""Check -> a spec whose own fault it must catch, and no other. All are encoders."""
