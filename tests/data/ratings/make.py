"""Writes the export files of this folder, each to the schema that its tool documents, with what must be read of it.

``python tests/data/ratings/make.py`` makes them anew; the same bytes every time. Beside each export,
``<name>.expected.csv`` lists every rating that it holds, and ``expected.json`` counts what is none.
"""

import csv
import json
import random
from pathlib import Path

HERE = Path(__file__).parent
PEOPLE = {"anna": 11, "Björn": 12, "陈伟": 13, "o'neil, jr": 14}
random_ = random.Random(20250101)


def rows(n=60, each=3):
    """(item number, person, score 1..5) in a fixed random order."""
    found = []
    for item in range(n):
        quality = random_.uniform(1, 5)
        people = random_.sample(sorted(PEOPLE), each)
        found += [(item, p, min(5, max(1, round(quality + random_.gauss(0, 0.7))))) for p in people]
    return found


def item_name(i):
    return ("пример-", "画像", "größe ", "item,")[i % 4] + str(i)


def expect(name, ratings):
    with (HERE / f"{name}.expected.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["item", "rater", "feature", "score", "seconds"])
        writer.writerows(ratings)


def dump(name, value):
    (HERE / name).write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def lines(name, records):
    text = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records)
    (HERE / name).write_text(text, encoding="utf-8")


def label_studio():
    def result(kind, value, name):
        return {"id": f"r{random_.randrange(10**6)}", "from_name": name, "to_name": "img", "type": kind,
                "origin": "manual", "value": value}  # fmt: skip

    expected, tasks, counts = (
        [],
        {},
        {"cancelled": 0, "draft": 0, "empty": 0, "ground_truth": 0, "predictions": 0},
    )
    for i in range(60):
        tasks[i] = {
            "id": 5000 + i, "inner_id": i + 1, "project": 7, "total_annotations": 0, "drafts": [], "predictions": [],
            "data": {"image": f"/data/upload/7/{item_name(i)}.png", "rating": 9}, "meta": {}, "annotations": [],
            "created_at": "2025-03-01T10:00:00.000000Z", "updated_at": "2025-03-02T10:00:00.000000Z",
        }  # fmt: skip
    for number, (i, person, score) in enumerate(rows()):
        annotation = {
            "id": 900 + number, "task": 5000 + i, "completed_by": PEOPLE[person], "was_cancelled": False,
            "ground_truth": False, "lead_time": round(random_.uniform(2, 30), 3), "result_count": 1,
            "created_at": f"2025-03-01T11:{number // 60 % 60:02d}:{number % 60:02d}.000000Z",
            "result": [result("rating", {"rating": score}, "quality"),
                       result("textarea", {"text": ["ok", "schön"]}, "comment")],
        }  # fmt: skip
        if number % 17 == 5:
            annotation |= {"was_cancelled": True, "result": annotation["result"] if number % 2 else []}
            counts["cancelled"] += 1
        elif number % 23 == 7:
            annotation["ground_truth"] = True
            counts["ground_truth"] += 1
        elif number % 29 == 3:
            annotation["result"] = []
            counts["empty"] += 1
        else:
            expected.append((5000 + i, PEOPLE[person], "", score, annotation["lead_time"]))
        tasks[i]["annotations"].append(annotation)
        if number % 11 == 0:
            tasks[i]["drafts"].append({"id": number, "user": "anna@example.com", "lead_time": 3.5, "task": 5000 + i,
                                       "result": [result("rating", {"rating": 1}, "quality")]})  # fmt: skip
            counts["draft"] += 1
        if number % 7 == 0:
            tasks[i]["predictions"].append({"id": number, "model_version": "resnet-1", "score": 0.93,
                                            "result": [result("rating", {"rating": 5}, "quality")]})  # fmt: skip
            counts["predictions"] += 1
    tasks[60] = {**tasks[59], "id": 5060, "annotations": [], "drafts": [], "predictions": [17, 18]}
    dump("label_studio.json", list(tasks.values()))
    expect("label_studio", expected)
    return counts | {"unrated": 61 - len({e[0] for e in expected})}


def label_studio_min():
    expected, records = [], []
    for number, (i, person, score) in enumerate(rows()):
        seconds = round(random_.uniform(2, 30), 3)
        records.append({
            "image": f"/data/upload/7/{item_name(i)}.png", "caption": "4", "id": 5000 + i,
            "quality": [{"rating": score}], "sure": [{"number": score * 10}], "kind": "photo",
            "annotator": PEOPLE[person], "annotation_id": number, "created_at": "2025-03-01T10:00:00Z",
            "updated_at": f"2025-03-01T11:{number // 60:02d}:{number % 60:02d}Z", "lead_time": seconds,
        })  # fmt: skip
        expected += [(5000 + i, PEOPLE[person], "quality", score, seconds),
                     (5000 + i, PEOPLE[person], "sure", score * 10, seconds)]  # fmt: skip
    dump("label_studio_min.json", records)
    expect("label_studio_min", expected)
    return {}


def argilla():
    expected, flat_expected, nested, flat = [], [], [], []
    counts, flat_counts = {"predictions": 0, "empty": 0}, {"predictions": 0, "draft": 0, "discarded": 0}
    users = {p: f"00000000-0000-4000-8000-0000000000{n}" for p, n in PEOPLE.items()}
    of = {}
    for i, person, score in rows():
        of.setdefault(i, []).append((person, score))
    for i, given in of.items():
        record = {
            "id": item_name(i), "fields": {"text": f"Textprobe {i} — ünïcode"}, "metadata": {"split": "train"},
            "suggestions": {}, "vectors": {}, "_server_id": f"srv-{i}",
            "responses": {"importance": [], "comment": [{"value": f"freier Text {i} " * 9, "user_id": users["anna"]}]},
        }  # fmt: skip
        row = {"id": item_name(i), "status": "completed", "text": record["fields"]["text"], "split": "train",
               "_server_id": f"srv-{i}", "importance.responses": [], "importance.responses.users": [],
               "importance.responses.status": []}  # fmt: skip
        for person, score in given:
            empty = (i + score) % 19 == 0
            record["responses"]["importance"].append(
                {"value": None if empty else score, "user_id": users[person]}
            )
            counts["empty"] += empty
            if not empty:
                expected.append((item_name(i), users[person], "", score, ""))
            status = {3: "draft", 8: "discarded"}.get((i * 7 + score) % 13, "submitted")
            row["importance.responses"].append(score)
            row["importance.responses.users"].append(users[person])
            row["importance.responses.status"].append(status)
            if status == "submitted":
                flat_expected.append((item_name(i), users[person], "", score, ""))
            else:
                flat_counts[status] += 1
        if i % 3 == 0:
            record["suggestions"] = {"importance": {"value": 5, "score": 0.8, "agent": "gpt-x"}}
            counts["predictions"] += 1
            flat_counts["predictions"] += 1
        suggested = 5 if i % 3 == 0 else None
        row |= {"importance.suggestion": suggested, "importance.suggestion.score": 0.8,
                "importance.suggestion.agent": "gpt-x"}  # fmt: skip
        nested.append(record)
        flat.append(row)
    flat.append({**dict.fromkeys(flat[0]), "id": "nobody", "text": "unrated"})
    dump("argilla.json", nested)
    lines("argilla_flat.jsonl", flat)
    expect("argilla", expected)
    expect("argilla_flat", flat_expected)
    flat_counts["unrated"] = 61 - len({e[0] for e in flat_expected})
    return counts | {"unrated": 60 - len({e[0] for e in expected})}, flat_counts


def prodigy():
    expected, records, counts = [], [], {"skipped": 0, "predictions": 0}
    for number, (i, person, score) in enumerate(rows()):
        answer = "ignore" if number % 13 == 4 else "accept" if score >= 3 else "reject"
        session = f"wichtig-{person}"
        record = {
            "text": f"Beispiel {i} 例", "meta": {"source": item_name(i), "score": 0.5}, "_input_hash": 7919 * i - 10**9,
            "_task_hash": 31 * i - 5, "_view_id": "classification", "label": "IMPORTANT", "answer": answer,
            "_timestamp": 1740000000 + number, "_annotator_id": session, "_session_id": session,
        }  # fmt: skip
        if number % 5 == 0:  # textcat.teach leaves the model's probability in the record
            record |= {"score": 0.73, "priority": 0.73}
            counts["predictions"] += 1
        records.append(record)
        if answer == "ignore":
            counts["skipped"] += 1
        else:
            expected.append((record["_input_hash"], session, "", int(answer == "accept"), ""))
    lines("prodigy.jsonl", records)
    expect("prodigy", expected)
    return counts | {"unrated": 60 - len({e[0] for e in expected})}


def prodigy_choice():
    expected, records, counts = [], [], {"skipped": 0, "rejected": 0, "empty": 0}
    options = [{"id": n, "text": "★" * n} for n in range(1, 6)]
    for number, (i, person, score) in enumerate(rows()):
        answer = {2: "ignore", 9: "reject"}.get(number % 21, "accept")
        accept = [] if number % 31 == 30 else [score]
        records.append({
            "image": f"{item_name(i)}.jpg", "options": options, "accept": accept, "answer": answer,
            "config": {"choice_style": "single"}, "_input_hash": 1000 + i, "_task_hash": 2000 + i,
            "_view_id": "choice", "_session_id": f"sterne-{person}", "_timestamp": 1740000000 + number,
        })  # fmt: skip
        if answer == "accept" and accept:
            expected.append((1000 + i, f"sterne-{person}", "", score, ""))
        else:
            counts["skipped" if answer == "ignore" else "rejected" if answer == "reject" else "empty"] += 1
    lines("prodigy_choice.jsonl", records)
    expect("prodigy_choice", expected)
    return counts | {"unrated": 60 - len({e[0] for e in expected})}


def tables():
    import pyarrow as pa
    from pyarrow import parquet

    expected, table = [], []
    counts = {"skipped": 0, "draft": 0, "empty": 0, "ground_truth": 0}
    for number, (i, person, score) in enumerate(rows()):
        seconds, status, gold = round(random_.uniform(1, 9), 2), "submitted", number % 20 == 6
        if not gold:
            status = {4: "skipped", 8: "draft"}.get(number % 14, "submitted")
        cell = "" if number % 37 == 1 and not gold and status == "submitted" else str(score)
        table.append([item_name(i), person, cell, str(seconds), status, "true" if gold else "false"])
        if gold:
            counts["ground_truth"] += 1
        elif status != "submitted" or not cell:
            counts[status if status != "submitted" else "empty"] += 1
        else:
            expected.append((item_name(i), person, "", score, seconds))
    names = ["Item ID", "annotator", "rating", "seconds", "status", "ground_truth"]
    with (HERE / "long.csv").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows(table)
    expect("long", expected)
    lines("long.jsonl", [dict(zip(names, row, strict=True)) for row in table])
    expect("long_jsonl", expected)
    columns = {n: pa.array([row[k] for row in table]) for k, n in enumerate(names)}
    columns["rating"] = pa.array([float(row[2]) if row[2] else None for row in table])
    columns["seconds"] = pa.array([float(row[3]) for row in table])
    columns["ground_truth"] = pa.array([row[5] == "true" for row in table])
    parquet.write_table(pa.table(columns), HERE / "long.parquet")
    expect("long_parquet", expected)

    wide, wide_expected, of = [], [], {}
    for i, person, score in rows():
        of.setdefault(i, {})[person] = score
    for i, given in of.items():
        wide.append([item_name(i), *(str(given.get(p, "")) for p in PEOPLE)])
        wide_expected += [(item_name(i), p, "", given[p], "") for p in PEOPLE if p in given]
    with (HERE / "wide.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=";", lineterminator="\n")
        writer.writerow(["item", *PEOPLE])
        writer.writerows(wide)
    expect("wide", wide_expected)
    unrated = 60 - len({e[0] for e in expected})
    return {name: counts | {"unrated": unrated} for name in ("long.csv", "long.jsonl", "long.parquet")}


def features():
    expected, table = [], []
    for i in range(20):
        for person in sorted(PEOPLE)[:3]:
            for feature in ("stroke", "loop", "slant"):
                if (i + len(feature)) % 4:
                    score = random_.randint(0, 10)
                    table.append([i, person, feature, score])
                    expected.append((i, person, feature, score, ""))
    for person in sorted(PEOPLE)[:3]:
        table.append(["", person, "slant", 9])
        expected.append(("", person, "slant", 9, ""))
    with (HERE / "features.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["item", "rater", "feature", "score"])
        writer.writerows(table)
    expect("features", expected)


def main():
    counts = {"label_studio.json": label_studio(), "label_studio_min.json": label_studio_min()}
    counts["argilla.json"], counts["argilla_flat.jsonl"] = argilla()
    counts["prodigy.jsonl"], counts["prodigy_choice.jsonl"] = prodigy(), prodigy_choice()
    counts |= tables()
    features()
    counts |= {"wide.csv": {"unrated": 0}, "features.csv": {"unrated": 0}}
    dump("expected.json", counts)


if __name__ == "__main__":
    main()
