"""What columns of tables are called, by role.

Names are written here in snake_case; `plain` finds them in any other spelling: itemId, Item-ID, "Item ID:", item.id.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

NAMES: dict[str, tuple[str, ...]] = {
    "item": (
        "item", "item_id", "sample", "sample_id", "task", "task_id", "image", "image_id", "image_name", "example",
        "example_id", "unit", "unit_id", "stimulus", "stimulus_id", "case", "case_id", "question_id", "text_id",
        "prompt_id", "output_id", "video", "video_id", "audio", "clip", "item_name", "hit_id", "record_id", "document",
        "document_id", "doc_id", "instance", "instance_id", "object", "object_id", "index", "idx", "position",
        "row", "row_id", "uid", "uuid", "key", "id", "filename", "file",
    ),
    "rater": (
        "rater", "rater_id", "annotator", "annotator_id", "worker", "worker_id", "coder", "coder_id", "judge",
        "judge_id", "labeler", "labeller", "labeler_id", "participant", "participant_id", "reviewer", "subject",
        "subject_id", "user", "user_id", "person", "session", "session_id", "_session_id", "_annotator_id",
        "completed_by", "respondent", "email", "annotator_name", "rater_name", "worker_name",
        "user_name",
    ),
    "score": (
        "score", "scores", "rating", "ratings", "mos", "value", "importance", "label", "response", "answer", "grade",
        "stars", "judgement", "judgment", "vote",
    ),
    "feature": (
        "feature", "feature_id", "feature_name", "attribute", "aspect", "dimension", "criterion", "question",
    ),
    "seconds": (
        "seconds", "lead_time", "duration", "duration_s", "time_spent", "seconds_spent", "elapsed",
        "response_time", "time_s", "work_time", "work_time_in_seconds",
    ),
    "milliseconds": ("milliseconds", "duration_ms", "time_ms", "rt", "rt_ms", "response_time_ms", "elapsed_ms"),
    "status": ("status", "state", "response_status", "assignment_status"),
    "gold": ("ground_truth", "is_gold", "gold", "is_ground_truth", "gold_label", "truth", "gold_score",
             "gold_answer", "gold_rating", "true_label", "true_score"),
    "prediction": ("prediction", "is_prediction", "predicted", "is_model", "model_prediction", "model_score"),
    "first": ("first", "model_a", "item_a", "option_a", "left", "response_a", "image_a", "stimulus_a", "a"),
    "second": ("second", "model_b", "item_b", "option_b", "right", "response_b", "image_b", "stimulus_b", "b"),
    "winner": ("winner", "preference", "preferred", "chosen", "better", "outcome", "choice", "selected", "selection"),
}  # fmt: skip
# Names that can mean nothing else, before others of the same role.
EXPLICIT = {
    "item": {"item", "item_id"},
    "rater": {"rater", "rater_id", "annotator", "annotator_id", "worker", "worker_id", "coder", "coder_id"},
}  # fmt: skip
# Names that a score may have, and that other columns have too.
WEAK_SCORES = {"value", "label", "response", "answer", "vote", "judgement", "judgment", "importance"}
COUNTERS = {"index", "idx", "position", "row", "row_id"}  # what a saved index is called
PAIR_ROLES = ("first", "second", "winner")
FLAGS = {
    "was_cancelled": "cancelled", "cancelled": "cancelled", "canceled": "cancelled", "skipped": "skipped",
    "is_skipped": "skipped", "skip": "skipped", "draft": "draft", "is_draft": "draft", "discarded": "discarded",
    "rejected": "rejected",
}  # fmt: skip
# Columns that say whether an answer is to be used.
VERDICTS = {
    "valid", "is_valid", "approved", "is_approved", "accepted", "is_accepted", "usable", "is_usable", "include",
    "included", "passed", "attention_check_passed", "passed_attention_check", "attention_passed", "passed_check",
    "attention_check", "trusted", "is_trusted", "qc_pass", "qc_passed", "quality_check", "quality_check_passed",
    "check_passed", "attention_pass", "captcha_passed",
}  # fmt: skip
# The same, where true says that it is not.
FAULTS = {
    "invalid", "is_invalid", "excluded", "exclude", "is_excluded", "failed", "is_failed", "attention_check_failed",
    "failed_attention_check", "attention_failed", "failed_check", "unusable", "is_unusable", "untrusted",
    "is_untrusted", "is_rejected", "is_spammer", "is_spam", "is_bot", "qc_fail", "qc_failed", "attention_fail",
    "practice", "is_practice", "practice_trial", "is_practice_trial", "warmup", "is_warmup", "is_tutorial", "is_dummy",
    "golden", "is_golden", "_golden", "gold_standard", "is_gold_standard", "is_test_question", "test_question",
    "is_control", "is_control_question", "honeypot", "is_honeypot", "is_sentinel", "is_catch_trial", "catch_trial",
}  # fmt: skip
# Columns that a tool adds and that never hold a rating.
NEVER = {
    "created_at", "updated_at", "timestamp", "time", "date", "submitted_at", "started_at", "text", "comment",
    "comments", "notes", "note", "url", "path", "data",
}  # fmt: skip
# Columns that are computed from ratings, or by a model, or that describe items or raters.
NO_RATER = {
    "mean", "average", "avg", "median", "mode", "majority", "majority_vote", "consensus", "std", "stdev", "sd",
    "variance", "sum", "total", "count", "counts", "n", "num_ratings", "n_ratings", "agreement", "votes",
    "mean_score", "mean_rating", "average_score", "average_rating", "avg_score", "avg_rating", "final_score",
    "model", "pred", "predicted_score", "prediction_score", "ai_score", "confidence", "probability", "trust",
    "age", "year", "gender", "length", "size", "width", "height", "class", "label", "split", "fold", "weight",
    "turn", "level", "version", "batch", "repeat", "other", "at", "country", "city", "region", "language", "lang",
    "source", "model_name", "dataset",
}  # fmt: skip
ABOUT_PEOPLE = {
    "age", "year", "gender", "sex", "country", "city", "region", "state", "language", "lang", "trust", "education",
    "occupation", "nationality", "ethnicity", "experience", "birth_year", "year_of_birth", "native_language",
    "feedback",
    "browser", "user_agent", "screen_width", "screen_height", "ip", "ip_address",
}  # fmt: skip
# Parts of names of what is measured.
MEASURED = {
    "duration",
    "seconds",
    "secs",
    "minutes",
    "mins",
    "hours",
    "ms",
    "milliseconds",
    "elapsed",
    "latency",
}
INNER = (
    "ratings",
    "scores",
    "annotations",
    "judgments",
    "judgements",
    "votes",
)  # a record's ratings inside it
# The rating's own, where it is inside a record.
OWN = {"id", "uid", "uuid", "key", "index", "idx", "position", "row", "row_id"}


# Columns that Google Forms and Qualtrics add to the answers.
FORM_COLUMNS = {
    "timestamp", "start_date", "end_date", "status", "response_type", "ip_address", "progress", "duration", "finished",
    "recorded_date", "response_id", "recipient_last_name", "recipient_first_name", "recipient_email",
    "external_reference", "external_data_reference", "location_latitude", "location_longitude",
    "distribution_channel", "user_language", "zeitstempel", "email_address", "q_recaptcha_score",
}  # fmt: skip
RESPONDENT = ("email_address", "email", "e_mail", "response_id", "respondent", "respondent_id")

CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
IN_BRACKETS = re.compile(r"\(.*?\)|\[.*?\]")
INVISIBLE = re.compile("[\u200b\u200c\u200d\u2060\ufeff]")


@lru_cache(maxsize=65536)
def plain(name: str) -> str:
    """The name in snake_case, as the words of this module are written.

    >>> [plain(n) for n in ("Score (1-5)", "itemId", "unitID", "HITId", "worker-id", "Task ID:", "workerid", "n")]
    ['score', 'item_id', 'unit_id', 'hit_id', 'worker_id', 'task_id', 'worker_id', 'n']
    """
    bare = IN_BRACKETS.sub("", INVISIBLE.sub("", unicodedata.normalize("NFKC", str(name))))
    snake = re.sub(r"[\s.-]+", "_", CAMEL.sub("_", bare.strip(" \t\r\n:*?#!.")).lower())
    snake = re.sub(r"(?<=[^_])_{2,}", "_", snake)
    return _spellings().get(_squeezed(snake), snake)


def _squeezed(snake: str) -> str:
    """Without the dashes between words; with them where a word is one letter: "time_s" is not "times"."""
    bare = snake.lstrip("_")
    joined = bare if any(len(part) < 2 for part in bare.split("_")) else bare.replace("_", "")
    return "_" * (len(snake) - len(bare)) + joined  # a tool's own "_id" is another than "id"


@lru_cache(maxsize=1)
def _spellings() -> dict[str, str]:
    """The words of this module by their letters alone."""
    words = [w for names in NAMES.values() for w in names]
    words += [*FLAGS, *VERDICTS, *FAULTS, *NEVER, *NO_RATER, *OWN, *INNER, *FORM_COLUMNS, *RESPONDENT]
    return {_squeezed(word): word for word in words}


def is_called(name: str, role: str) -> bool:
    return plain(name) in NAMES[role]


def is_index(name: str) -> bool:
    """Whether pandas calls a saved index so."""
    return name == "" or name.lower().startswith(("unnamed:", "__index_level_"))


def is_plumbing(name: str) -> bool:
    """Columns of a tool or of pandas' index, which hold no ratings."""
    return plain(name) in NEVER or plain(name) in FLAGS or is_index(name)


def is_about_a_person(name: str) -> bool:
    """Whether a question of a form so called is about who answers, or how long it took, rather than about the item."""
    bare = plain(name)
    endings = ("_id", "_time", "_at", "_utc", "_timestamp")
    measured = not MEASURED.isdisjoint(bare.split("_"))
    return (
        measured
        or bare in ABOUT_PEOPLE
        or is_plumbing(name)
        or bare.endswith(endings)
        or bare.startswith("time_")
    )


def describes(name: str) -> bool:
    """Whether a column of numbers so called is likely an id, a time, or computed, rather than a rater."""
    bare = plain(name)
    endings = ("_id", "_ids", "_count", "_time", "_at", "_utc", "_mean", "_std", "_sum", "_avg", "_n")
    starts = ("_", "n_", "num_", "mean_", "avg_", "std_", "id_", "count_")
    measured = not MEASURED.isdisjoint(bare.split("_"))
    return (
        measured or bare in NO_RATER or is_plumbing(name) or bare.endswith(endings) or bare.startswith(starts)
    )
