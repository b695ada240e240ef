"""Tables: of a tool, pairwise, long, wide, or one row a respondent. What names do not settle is refused with a call."""

from __future__ import annotations

from hitl_fast._common.errors import InputError

from . import crowdsourcing, pairwise
from .answers import Answers
from .doubts import refuse_lists_of_codes, refuse_machines, refuse_several_scales
from .long_table import read_long
from .record_keys import listed
from .repeated import refuse_copied_rows, refuse_repeated
from .request import Request
from .roles import (
    Roles,
    check_columns,
    numeric,
    refuse_doubtful_score,
    refuse_numbered_rows,
    refuse_without_item,
    refuse_without_rater,
    refuse_without_score,
)
from .summary_rows import refuse_summary_rows
from .table import Table, looks_like_data, missing_header
from .vocabulary import is_called, is_index, is_plumbing
from .wide_table import raters_of, read_respondents, read_wide

MANY = 8  # keys of a map that a call still lists


def read(table: Table, request: Request) -> Answers:
    """Answers of a table.

    Raises:
        ValueError: it may be read in several ways, or holds no ratings; the message has the call to make.
    """
    given = check_columns(request.roles, table)
    raters = request.raters or []
    twice = next((n for k, n in enumerate(raters) if n in raters[:k]), None)
    if twice is not None:
        raise InputError(f"raters names {twice!r} twice")
    for name in [*(request.raters or []), *(request.questions or [])]:
        if name not in table.columns and request.format not in crowdsourcing.FORMATS:
            if request.raters is None and crowdsourcing.recognise(table):
                break
            raise InputError(f"{table.name}: no column {name!r}; there are {table.listed()}")
    tool = request.format if request.format in crowdsourcing.FORMATS else None
    if request.format is None and request.raters is None and "score" not in given:
        tool = crowdsourcing.recognise(table)
    if tool is not None:
        return crowdsourcing.read(table, tool, given, request)
    if request.format == "respondents":
        return _respondents(table, given, request)
    if request.format == "pairwise" or (request.format is None and pairwise.recognise(table, given, request)):
        return pairwise.read(table, given, request.labels)
    if request.raters is not None or request.format == "wide":
        return _wide(table, given, request)
    told = {"item", "score"} & {role for role, column in given.items() if column is not None}
    if request.format is None and request.questions is None and not told and crowdsourcing.is_form(table):
        crowdsourcing.refuse_respondents(table)
    if table.mapped and request.format is None and request.questions is None:
        _refuse_map(table, given)
    return _long(table, given, request)


def _long(table: Table, given: dict[str, str | None], request: Request) -> Answers:
    asked = request.questions or []  # an answer is no status, truth or item, whatever it is called
    free = [n for n in table.columns if n not in asked]
    roles = Roles(table, {**given, "score": None} if asked else given, free or None)
    if request.header and looks_like_data(list(table.columns)) and not given and table.header:
        raise InputError(missing_header(table.name, list(table.columns)))
    no_item = "item" not in roles and "feature" not in roles
    if no_item and ("rater" in roles or "score" in roles or request.questions is not None):
        refuse_without_item(table, roles)
    told = request.questions is not None or "score" in given or "rater" in given or request.format == "long"
    if "rater" not in roles and not told:
        if "score" not in roles and not numeric(table, roles.others()):
            refuse_without_item(table, roles)
        rivals = [n for n in roles.others() if n not in roles.unused]
        if rivals and not ("feature" in roles and "score" in roles and "item" not in roles):
            refuse_without_rater(table, roles)
    refuse_numbered_rows(table, roles)
    if request.questions is not None:
        names = {column: column for column in request.questions}
    elif "score" in roles:
        if request.format != "long":
            refuse_doubtful_score(table, roles)
        names = {roles.columns["score"]: ""}
    elif "rater" in roles or "feature" in roles or request.format == "long":
        refuse_without_score(table, roles)
    else:
        refuse_without_rater(table, roles)
    refuse_summary_rows(table, roles.get("item"), roles.get("rater"), list(names))
    refuse_machines(table, roles)
    refuse_several_scales(table, roles)
    refuse_copied_rows(table, roles, request)
    refuse_repeated(table, roles, request, list(names))
    answers = read_long(table, roles, names)
    spare = [n for n in numeric(table, roles.others()) if n not in names]
    answers.unread |= dict.fromkeys(spare, "another column of numbers") | {
        n: why for n, why in roles.unused.items() if n not in names and not is_plumbing(n)
    }
    return answers


def _wide(table: Table, given: dict[str, str | None], request: Request) -> Answers:
    names = [n for n in table.columns if n not in (request.raters or table.mapped)]
    roles = Roles(table, {"rater": None, "score": None, **given}, names)
    if "item" not in roles:
        index = next((n for n in table.columns if is_index(n) and n not in (request.raters or [])), None)
        if index is None:
            refuse_without_item(table, roles)
        roles.columns["item"] = str(index)
    raters = request.raters or [n for n in table.columns if n in table.mapped] or raters_of(table, roles)
    if table.mapped and not request.raters:
        raters = [n for n in raters if n not in roles.columns.values()]
    if not raters:
        raise InputError(
            f"{table.name}, line 1: no column of ratings among {table.listed()}: name the raters with raters=[...] "
            "(--raters)"
        )
    refuse_summary_rows(table, roles.get("item"), None, list(raters))
    refuse_repeated(table, roles, request, list(raters))
    return read_wide(table, roles, raters)


def _respondents(table: Table, given: dict[str, str | None], request: Request) -> Answers:
    table = crowdsourcing.without_tests(crowdsourcing.without_header_rows(table))
    roles = crowdsourcing.respondent_roles(table, given)
    if request.questions is None:
        items = numeric(table, [n for n in roles.others() if not crowdsourcing.is_about_the_form(n)])
        shown = items or [n for n in roles.others() if not crowdsourcing.is_about_the_form(n)]
        raise InputError(
            f"{table.name}, line 1: which columns are what people rated? Say so with "
            f"{table.call(format='respondents', question=shown)}"
        )
    refuse_lists_of_codes(table, request.questions, request.labels)
    return read_respondents(table, roles, request.questions)


def _refuse_map(table: Table, given: dict[str, str | None]) -> None:
    """Refuse a map of ratings inside a record whose keys may be raters or questions."""
    mapped = [n for n in table.columns if n in table.mapped]
    outer = [n for n in table.columns if n not in table.mapped]
    named = any(is_called(n, "rater") for n in outer) or given.get("rater") or given.get("score")
    scored = any(is_called(n, "score") for n in mapped)
    if scored or (named and given.get("score")):
        return
    key = table.map_name
    keys = f"the keys {listed(mapped)} of the map {key!r}"
    items = f"items: {table.call(columns={'item': key})}"
    if named:
        raise InputError(
            f"{table.name}: {keys} may be questions or items. Questions: {table.call(question=mapped)}; {items}"
        )
    raters = {"raters": mapped} if len(mapped) <= MANY else {"columns": {"rater": key}}
    questions = (
        {"format": "long", "question": mapped} if len(mapped) <= MANY else {"columns": {"feature": key}}
    )
    raise InputError(
        f"{table.name}: {keys} may be raters or questions. Raters: {table.call(**raters)}; one person's "
        f"answers to questions: {table.call(**questions)}. How often each label was chosen is no rating of anybody: "
        "write a row for each rating"
    )
