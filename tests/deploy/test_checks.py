"""The checks find what they are there for."""

from pathlib import Path

from deploy.checks import budget, tree


def write(folder: Path, name: str, lines: int) -> Path:
    file = folder / f"{name}.py"
    body = "\n".join(f"    x = {number}" for number in range(lines - 1))
    file.write_text(f"def {name}() -> None:\n{body}\n", encoding="utf-8")
    return file


def test_a_long_function_and_a_long_module_are_named_with_their_sizes(tmp_path: Path) -> None:
    file = write(tmp_path, "long", budget.MODULE + 1)
    found = budget.complaints([file])
    assert found[0] == f"{file}: 261 lines, the budget is 260"
    assert found[1] == f"{file}:1 long: 261 lines, the budget is 60"


def test_many_middling_functions_break_the_median_though_each_is_allowed(tmp_path: Path) -> None:
    files = [write(tmp_path, f"f{number}", 40) for number in range(4)]
    assert budget.complaints(files) == [
        "the median function has 40.0 lines, the budget is 8",
        "a tenth of the functions has over 40 lines, the budget is 30",
    ]


def test_small_functions_are_within_the_budget(tmp_path: Path) -> None:
    assert budget.complaints([write(tmp_path, f"f{number}", 5) for number in range(4)]) == []


def test_the_tree_is_replaced_between_its_marks_only() -> None:
    readme = f"before\n{tree.BEGIN}\nold\n{tree.END}\nafter\n"
    after = tree.with_tree(readme, ["a  b"])
    assert after == f"before\n{tree.BEGIN}\n```text\na  b\n```\n{tree.END}\nafter\n"
    assert tree.with_tree(after, ["a  b"]) == after


def test_a_file_is_described_by_the_first_sentence_of_its_docstring(tmp_path: Path) -> None:
    file = tmp_path / "m.py"
    file.write_text('"""Does one\nthing. And more.\n\nLong."""\n', encoding="utf-8")
    assert tree.first_sentence(file) == "Does one thing."
