"""Prodigy: JSON lines of ``db-out``, one line an answer."""

from __future__ import annotations

from typing import Any

from .answers import (
    UNKNOWN,
    AnswerList,
    Answers,
    Gold,
    Prediction,
    Unreadable,
    expect,
    identity,
    seconds_of,
    value_at,
)
from .text import Record

ANSWERS = ("accept", "reject", "ignore")
# Fields in which custom interfaces leave a person's rating. Not "score" or "priority": those are the model's.
RATING_FIELDS = (
    "rating", "user_rating", "importance", "stars", "grade", "slider", "slider_value", "likert", "quality",
    "relevance", "user_score", "user_input",
)  # fmt: skip
MARKUP = ("relations", "dep", "text_input", "blocks", "audio", "llm_io", "image_manual")
SECONDS_FIELDS = ("seconds", "duration", "elapsed", "lead_time", "time_spent", "_duration", "_elapsed")


def is_answer(record: Any) -> bool:
    if not isinstance(record, dict):
        return False
    hashed = "_input_hash" in record or "_task_hash" in record
    if record.get("answer") in ANSWERS and ("_session_id" in record or "_view_id" in record):
        return True
    return hashed and ("answer" in record or "_view_id" in record or "versions" in record)


def read(records: list[Record], source: str, item_field: str | None, question: list[str] | None) -> Answers:
    """Answers by person (the named session) and input. Rejecting a choice or a rating is refusing the question."""
    answers = AnswerList(source, "Prodigy JSONL")
    fields = [f for f in question or RATING_FIELDS if any(_rates(r.value, f) for r in records)]
    several = _labels_share_inputs(records)
    changing = _options_change(records)
    by_span = _spans_share_inputs(records)
    for line, record in records:
        where = answers.at(line)
        expect(is_answer(record), where, "a Prodigy answer ('answer' beside '_input_hash')", record)
        item = _item(record, item_field, where, by_span)
        answers.answers.seen[item] = None
        named = (record[k] for k in ("_annotator_id", "_session_id") if record.get(k) is not None)
        rater = identity(next(named, UNKNOWN), "rater", where)
        seconds = next((seconds_of(record[k]) for k in SECONDS_FIELDS if k in record), float("nan"))
        answer = record.get("answer", "accept")
        expect(answer in ANSWERS, where, "'answer' accept, reject or ignore", answer)
        if isinstance(record.get("score"), float) and "score" not in fields:
            answers.answers.predictions.append(Prediction(item, "model", "score", record["score"]))
        found = _answers(record, fields, several, answers, where)
        if changing and "accept" in found:
            found["accept"] = Unreadable("a choice among options that differ from task to task")
        if record.get("_view_id") == "compare" and "answer" in found:
            found["answer"] = Unreadable("a comparison of two outputs")
        binary = list(found) == ["answer"] or (several and list(found) == [str(record.get("label"))])
        if answer == "ignore":
            answers.skip(item, rater, "skipped", seconds)
        elif answer == "reject" and not binary:
            answers.skip(item, rater, "rejected", seconds)
        elif _is_gold(record):
            answers.answers.gold += [Gold(item, name, value) for name, value in found.items()]
        elif not found:
            answers.skip(item, rater, "empty", seconds)
        else:
            for name, value in found.items():
                answers.add(item, rater, name, value, seconds, line, record.get("_timestamp"))
    return answers.finish()


def _answers(
    record: dict[str, Any], fields: list[str], several: bool, answers: AnswerList, where: str
) -> dict[str, Any]:
    """Question and value: a rating in a field of its own, else a choice, else accepting itself."""
    found: dict[str, Any] = {f: record[f] for f in fields if record.get(f) is not None}
    if isinstance(record.get("accept"), list) and not found:
        options = record.get("options") or []
        expect(isinstance(options, list), where, "'options' as a list", options)
        offered = [str(o.get("id", o.get("text"))) for o in options if isinstance(o, dict)]
        known = answers.answers.options.setdefault("accept", [])
        known += [o for o in offered if o not in known]
        ticked = [str(o) for o in record["accept"]]
        if ticked or _multiple(record):
            found["accept"] = ticked
    elif not found and not fields and "options" not in record:
        name = str(record.get("label")) if several else "answer"
        markup = Unreadable("spans or other markup, which is no rating") if _annotates(record) else None
        found[name] = markup or record.get("answer") == "accept"
    return found


def _options_change(records: list[Record]) -> bool:
    """Whether an option of one id has several texts: then the id says nothing of an item."""
    known: dict[str, str] = {}
    for _, record in records:
        options = record.get("options") if isinstance(record, dict) else None
        for option in options if isinstance(options, list) else []:
            if isinstance(option, dict) and "id" in option:
                shown = repr([option.get(k) for k in ("text", "image", "html", "label")])
                if known.setdefault(str(option["id"]), shown) != shown:
                    return True
    return False


def _multiple(record: dict[str, Any]) -> bool:
    config = record.get("config")
    style = record.get("choice_style") or (config.get("choice_style") if isinstance(config, dict) else None)
    return style == "multiple"


def _annotates(record: dict[str, Any]) -> bool:
    """Whether people marked something up (spans, relations, regions, text), so that accepting it is no rating."""
    view = str(record.get("_view_id", ""))
    return view.endswith("manual") or view in MARKUP or any(record.get(k) for k in ("relations", "arcs"))


def _is_gold(record: dict[str, Any]) -> bool:
    """A reviewer's last word over others' versions, or an answer marked as the truth."""
    marked = any(record.get(k) is True for k in ("ground_truth", "gold", "is_gold", "_gold"))
    return marked or record.get("_view_id") == "review" or "versions" in record


def _rates(record: Any, name: str) -> bool:
    if not isinstance(record, dict) or record.get(name) is None or isinstance(record[name], bool):
        return False
    try:
        float(record[name])
    except (TypeError, ValueError):
        return False
    return True


def _labels_share_inputs(records: list[Record]) -> bool:
    """Whether an input is asked about with several labels, so that the label is a feature of it."""
    first: dict[Any, Any] = {}
    for _, record in records:
        if isinstance(record, dict) and isinstance(record.get("label"), str):
            key = repr(record.get("_input_hash"))  # an object is refused where its record is read
            if first.setdefault(key, record["label"]) != record["label"]:
                return True
    return False


def _spans_share_inputs(records: list[Record]) -> bool:
    """Whether people accept or reject several spans of one input, each a question of its own."""
    first: dict[Any, Any] = {}
    for _, record in records:
        if isinstance(record, dict) and record.get("spans") and not _annotates(record):
            key = repr(record.get("_input_hash"))
            if first.setdefault(key, repr(record["spans"])) != repr(record["spans"]):
                return True
    return False


def _item(record: dict[str, Any], item_field: str | None, where: str, by_span: bool) -> Any:
    """The input; where spans of one input are asked about, the task (an input and what is asked of it) and its span."""
    if item_field is not None:
        return value_at(record, item_field, where)
    hashes = ("_task_hash", "_input_hash") if by_span else ("_input_hash", "_task_hash")
    found = next((record[k] for k in (*hashes, "id") if record.get(k) is not None), None)
    expect(found is not None, where, "'_input_hash'", record)
    found = identity(found, "item", where)
    spans = [s for s in record.get("spans") or [] if isinstance(s, dict)]
    if not by_span or not spans:
        return found
    places = [f"{s.get('start', '')}-{s.get('end', '')} {s.get('label', '')}".strip() for s in spans]
    return f"{found}: {', '.join(places)}"
