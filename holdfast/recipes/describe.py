"""Describe what `--set` reaches, from the text of the files: every field with its default, its values and its meaning.

Nothing of a technique is imported, so that `holdfast methods NAME` and a mistyped `--set` wait for neither torch nor transformers.
"""

import ast
import copy
import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from holdfast import plugins
from holdfast.plugins import CURATIONS, DECODINGS, EDITS, METHODS, RECIPES, Family, Technique
from holdfast.recipes.assignments import literal, split_choice
from holdfast.recipes.techniques import Techniques

LOOP = ("holdfast.training.settings", "TrainSettings")
ROWS = ("holdfast.stages.train", "Train")
MAKING = ("train", "each")  # the functions of `RecipePlan` that make a stage
NO_SETTINGS = {"tasks", "prompts", "start", "pinned", "stages"}  # arguments of these that no user sets
SWEEP = ("holdfast.recipes.sweep", "SweepRule")
BOUNDS = {"ge": "at least {}", "gt": "above {}", "le": "at most {}", "lt": "below {}"}


@dataclass(frozen=True)
class Setting:
    """One field: its default as Python writes it, the values that it takes, and its meaning with its unit."""

    name: str
    default: str
    values: str
    meaning: str = ""
    fixed: bool = False  # by the recipe, so that nobody can set it
    usual: tuple[float, float] | None = None  # what nearly everybody sets it to lies between these
    span: float | None = None  # the same as a factor of the default, since each method has one of its own

    @property
    def range(self) -> tuple[float, float] | None:
        """Return the least and the greatest value that are usual; None where the field does not say."""
        default = literal(self.default)
        if self.span is None or isinstance(default, str | bool | None):
            return self.usual
        return default / self.span, default * self.span

    @property
    def usually(self) -> str:
        """Return the usual values in words: `usually 1e-06 to 0.01`; empty where the field does not say."""
        return "" if self.range is None else "usually {:g} to {:g}".format(*self.range)


@dataclass(frozen=True)
class StageSettings:
    """One stage of a recipe, with the methods that it trains with and everything that `--set STAGE.field=value` reaches."""

    name: str
    methods: tuple[str, ...]
    settings: tuple[Setting, ...]
    loop: tuple[Setting, ...] = field(default=())  # of the training loop and the rows, which every stage has


def stages(name: str) -> list[StageSettings]:
    """Return the stages of `--method NAME`; also of `promot+l2_sp`, and of `path/to/file.py:Name`, which is run.

    Raises:
        ValueError: there is no such recipe or method; the nearest name is suggested.
    """
    first, *others = (split_choice(part, METHODS)[0] for part in name.split("+"))
    known = plugins.known(first, METHODS, RECIPES)
    if first not in known:
        if near := _nearest(first, sorted(known)):
            raise ValueError(f"unknown method {name!r}; did you mean {'+'.join((near, *others))!r}?")
        raise plugins.unknown("method", first, sorted(known))
    joining = [_joining(name, other) for other in others]
    if "chooses_parameters" in known[first].attributes:  # a method, and no recipe
        method = known[first]
        section = "model" if moves_the_model(method) else "prompt"
        return [_stage(section, [method, *joining], {}, set())]
    recipe, by_name = known[first], {}
    for section, methods, defaults, pinned in _made(recipe.module, recipe.symbol, {}):
        # A penalty takes part where the model itself is trained, as `RecipePlan.train` has it.
        taking = [*methods, *(joining if any(map(moves_the_model, methods)) else [])]
        by_name.setdefault(section, _stage(section, taking, defaults, pinned))
    return list(by_name.values())


def _joining(name: str, other: str) -> Technique:
    """Return the method that a part of `first+other` names."""
    methods = plugins.known(other, METHODS)
    joins = [method.name for method in methods.values() if method.joins]
    if other not in methods and (near := _nearest(other, joins)):
        whole = "+".join(near if split_choice(part, METHODS)[0] == other else part for part in name.split("+"))
        raise ValueError(f"unknown method {name!r}; did you mean {whole!r}?")
    if other not in methods:
        raise ValueError(f"unknown method to join another: {other!r}; there are: {', '.join(sorted(joins))}")
    return methods[other]


def _nearest(name: str, known: Sequence[str]) -> str:
    """Return the known name that another begins (`kl`: `kl_base`) or is most like; empty where none is."""
    # The beginning first: `kl` is as like `lora` as `kl_base`, which is much longer.
    begun = [other for other in known if len(name) > 1 and other.startswith(name)]
    return next(iter(begun or difflib.get_close_matches(name, known, n=1, cutoff=0.5)), "")


def technique(family: Family, name: str, label: str = "") -> Technique:
    """Return a technique by its name, or of the user's file that `path/to/file.py:Name` names.

    Raises:
        ValueError: there is none; the nearest name is suggested.
    """
    known = plugins.known(name, family)
    if name not in known:
        raise plugins.unknown(label or family.name, name, sorted(known))
    return known[name]


def settings_of(described: Technique) -> tuple[Setting, ...]:
    """Return the fields of a technique that `--set` reaches."""
    return tuple(s for s in _fields(described.module, described.symbol) if s.name not in described.filled)


def moves_the_model(method: Technique) -> bool:
    """Return whether a method trains the model itself, and not a prompt in front of it."""
    return method.attributes.get("moves_the_model") != "False"


def check_names(techniques: Techniques, assigned: Mapping[str, Mapping[str, object]]) -> None:
    """Refuse a technique or a field of `--set` that does not exist, as the run itself would, before anything slow is imported.

    A user's own technique (`path/to/file.py:Name`) is left to the run, which executes the file.

    Raises:
        ValueError: there is no such technique, stage or field; the nearest is suggested.
    """
    sections, named = _sections(techniques), (techniques.method, techniques.curate, techniques.edit, techniques.decode)
    foreign = any(".py:" in (name or "") for name in named)
    known = {
        section: (label, [s.name for s in (*stage.settings, *stage.loop)])
        for section, (label, stage) in sections.items()
    }
    values = chain.from_iterable(section.values() for section in assigned.values())
    if any(str(value).startswith("sweep") for value in values):
        known["sweep"] = ("stage 'sweep'", [s.name for s in _fields(*SWEEP)])
    for section, values in assigned.items():
        if section not in known and not foreign:
            raise plugins.unknown("stage", section, list(known))
        for key in values if section in known else ():
            label, names = known[section]
            if key not in names:
                raise plugins.unknown(f"field of {label}:", f"{section}.{key}", [f"{section}.{n}" for n in names])


def unusual(techniques: Techniques, assigned: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Return a sentence for each number of `--set` that is far from what is usual for its technique; the fields say what that is."""
    sentences: list[str] = []
    for section, (_, stage) in _sections(techniques).items():
        for setting in (*stage.settings, *stage.loop):
            value = assigned.get(section, {}).get(setting.name)
            # Text is a search, or one of several words.
            if setting.range is None or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            low, high = setting.range
            if not low <= value <= high:
                far, whose = "above" if value > high else "below", " + ".join(stage.methods)
                usual = f"{low:g} to {high:g} (its default is {setting.default})"
                sentences.append(f"{section}.{setting.name}={value:g}: far {far} what is usual for {whose}, {usual}")
    return sentences


def _sections(techniques: Techniques) -> dict[str, tuple[str, StageSettings]]:
    """Return what `--set` reaches by section, each with its name in messages; nothing of a user's own techniques."""
    sections: dict[str, tuple[str, StageSettings]] = {}
    for stage in [] if ".py:" in techniques.method else stages(techniques.method):
        sections[stage.name] = f"stage {stage.name!r}", stage
    for section, family in (("curate", CURATIONS), ("edit", EDITS), ("decode", DECODINGS)):
        name: str | None = getattr(techniques, section)
        if name is not None and ".py:" not in name:
            settings = settings_of(technique(family, name))
            sections[section] = f"{family.name} {name!r}", StageSettings(section, (name,), settings)
    if techniques.probe is not None:
        sections["probe"] = "stage 'probe'", _stage("probe", [technique(METHODS, techniques.probe, "probe")], {}, set())
    return sections


def _stage(section: str, methods: list[Technique], defaults: Mapping[str, str], pinned: set[str]) -> StageSettings:
    """Return a stage's settings: with the methods' defaults, those of the recipe (`defaults`) over them, and what it fixes (`pinned`)."""
    changed: dict[str, str] = {}
    for method in methods:
        changed |= _defaults(method.module, method.attributes.get("defaults", "{}"))
    changed |= defaults

    def shown(settings: Iterator[Setting] | tuple[Setting, ...]) -> tuple[Setting, ...]:
        with_defaults = (replace(s, default=changed.get(s.name, s.default)) for s in settings)
        return tuple(replace(s, fixed=s.name in pinned) for s in with_defaults)

    settings: dict[str, Setting] = {}
    for method in methods:
        settings |= {s.name: s for s in settings_of(method)}
    if "tasks" in defaults:
        settings["tasks"] = Setting(
            "tasks", "''", "text", "tasks to train here, with commas between them; none: the targets"
        )
    rows = ast.literal_eval(_constant("holdfast.recipes.plan", "ROW_SETTINGS"))
    # One value is for the method's field and for the loop's where both have one of that name (`seed`): it is shown as the method's.
    loop = [s for s in (*_fields(*LOOP), *(s for s in _fields(*ROWS) if s.name in rows)) if s.name not in settings]
    return StageSettings(section, tuple(m.name for m in methods), shown(tuple(settings.values())), shown(tuple(loop)))


def _made(
    module: str, function: str, bound: Mapping[str, str]
) -> Iterator[tuple[str, list[Technique], dict[str, str], set[str]]]:
    """Yield the stages that a function makes: name, methods, defaults that it sets, and fields that it fixes.

    `bound` are the classes or the text of the constants behind its parameters, where another function calls it
    (`two_stages(plan, PromptTuning, Full)`).
    """
    node = next(n for n in plugins.tree(module).body if isinstance(n, ast.FunctionDef) and n.name == function)
    methods = {f"{t.module}.{t.symbol}": t for t in plugins.techniques(METHODS).values()}
    calls = [n for n in ast.walk(node) if isinstance(n, ast.Call)]
    for call in sorted(calls, key=lambda call: (call.lineno, call.col_offset)):
        names = [n.id if isinstance(n, ast.Name) else "" for n in call.args]
        classes = [bound.get(name) or plugins.imported(module, name) or "" for name in names]
        known = _KnownNames(node, bound)
        if isinstance(call.func, ast.Attribute) and call.func.attr in MAKING and call.args:
            section = ast.literal_eval(call.args[0])
            assigned = {k.arg: known.resolved(k.value) for k in call.keywords if k.arg and k.arg not in NO_SETTINGS}
            fixed = next((ast.literal_eval(known.resolved(k.value)) for k in call.keywords if k.arg == "pinned"), {})
            defaults = {k: ast.unparse(v) for k, v in assigned.items()} | {k: repr(v) for k, v in fixed.items()}
            # `tasks=plan.sources("skills")`: the one argument that is a setting where the user is asked for it.
            if any(k.arg == "tasks" and ".sources(" in ast.unparse(k.value) for k in call.keywords):
                defaults["tasks"] = "''"
            yield section, [methods[name] for name in classes if name in methods], defaults, set(fixed)
        elif isinstance(call.func, ast.Name):
            home, _, symbol = (plugins.imported(module, call.func.id) or f"{module}.{call.func.id}").rpartition(".")
            inner = [n for n in plugins.tree(home).body if isinstance(n, ast.FunctionDef) and n.name == symbol]
            if inner and names[:1] == [node.args.args[0].arg]:  # It is given the plan, and makes stages of it.
                values = [
                    ast.unparse(n) if isinstance(n, ast.Constant) else c
                    for n, c in zip(call.args, classes, strict=True)
                ]
                yield from _made(home, symbol, dict(zip([a.arg for a in inner[0].args.args], values, strict=False)))


class _KnownNames(ast.NodeTransformer):
    """Put what is known of a function's names in their place: what is assigned to them in it, and the constants of its caller."""

    def __init__(self, function: ast.FunctionDef, bound: Mapping[str, str]) -> None:
        self.bound = bound
        statements = [n for n in ast.walk(function) if isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Name)]
        self.assigned = {ast.unparse(n.targets[0]): n.value for n in statements}

    def resolved(self, node: ast.expr) -> ast.expr:
        """Return an expression with what is known in it; the expression itself stays, because a module's tree is read again."""
        return self.visit(copy.deepcopy(node))

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """Return the expression that a name stands for, or the name."""
        if node.id in self.assigned:
            return self.resolved(self.assigned[node.id])
        return ast.parse(self.bound[node.id], mode="eval").body if self.bound.get(node.id) else node


def _defaults(module: str, text: str) -> dict[str, str]:
    """Return the values of a class's `defaults`, which may name those of another class (`PromptTuning.defaults`)."""
    expression = ast.parse(text, mode="eval").body
    if isinstance(expression, ast.Dict):
        pairs = zip(expression.keys, expression.values, strict=True)
        return {ast.literal_eval(key): ast.unparse(value) for key, value in pairs if key is not None}
    if isinstance(expression, ast.Attribute):
        source = plugins.imported(module, ast.unparse(expression.value)) or f"{module}.{ast.unparse(expression.value)}"
        owner = next((t for t in plugins.techniques(METHODS).values() if f"{t.module}.{t.symbol}" == source), None)
        return _defaults(owner.module, owner.attributes.get("defaults", "{}")) if owner else {}
    if isinstance(expression, ast.BinOp):  # `{...} | {...}`
        both = (_defaults(module, ast.unparse(part)) for part in (expression.left, expression.right))
        return {**next(both), **next(both)}
    return {}


def _fields(module: str, symbol: str) -> Iterator[Setting]:
    """Yield the public fields of a class and its ancestors, in the order in which `--set` shows them."""
    settings: dict[str, Setting] = {}
    for home, node in reversed(plugins.lineage(module, symbol)):
        if not any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
            continue
        for statement in node.body:
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                name, annotation = statement.target.id, statement.annotation
                if not name.startswith("_") and "ClassVar" not in ast.unparse(annotation):
                    settings[name] = _setting(name, annotation, statement.value, home)
    yield from settings.values()


def _setting(name: str, annotation: ast.expr, value: ast.expr | None, module: str) -> Setting:
    # `Field(...)` stands as the value, or in `Annotated` beside the type.
    calls = [n for n in ast.walk(annotation) if isinstance(n, ast.Call)]
    if isinstance(value, ast.Call) and ast.unparse(value.func) in ("Field", "field"):
        calls.append(value)
        options = {k.arg: k.value for k in value.keywords}
        value = options.get("default", value.args[0] if value.args else None)
    keywords: dict[str, ast.expr] = {}
    for call in calls:
        keywords |= {k.arg: k.value for k in call.keywords if k.arg}
    meaning = _text(keywords["description"]) if "description" in keywords else ""
    bounds = {b: _number(keywords[b], module) for b in BOUNDS if b in keywords}
    metadata = ast.literal_eval(keywords["json_schema_extra"]) if "json_schema_extra" in keywords else {}
    return Setting(
        name,
        ast.unparse(value) if value is not None else "",
        _values(annotation, bounds),
        meaning,
        usual=tuple(metadata["usual"]) if "usual" in metadata else None,
        span=metadata.get("usual_span"),
    )


def _text(node: ast.expr) -> str:
    return str(ast.literal_eval(node))


def _number(node: ast.expr, module: str) -> str:
    """Return a bound as text; of a constant's name, its value."""
    return _constant(module, node.id) if isinstance(node, ast.Name) else ast.unparse(node)


def _constant(module: str, name: str) -> str:
    """Return the text of a module's constant; its name where the module assigns none."""
    for statement in plugins.tree(module).body:
        if isinstance(statement, ast.Assign) and name in [ast.unparse(target) for target in statement.targets]:
            return ast.unparse(statement.value)
    return name


def _values(annotation: ast.expr, bounds: Mapping[str, str]) -> str:
    """Return the values that a field takes, in words: `0 to 1`, `a whole number, at least 1`, `adamw, adafactor`."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):  # an annotation that is a string
        annotation = ast.parse(annotation.value, mode="eval").body
    if isinstance(annotation, ast.BinOp):
        parts = [_values(part, bounds) for part in (annotation.left, annotation.right)]
        return "; or ".join(parts)
    if isinstance(annotation, ast.Subscript):
        outer, inner = ast.unparse(annotation.value), annotation.slice
        elements = inner.elts if isinstance(inner, ast.Tuple) else [inner]
        if outer == "Literal":
            return ", ".join(str(ast.literal_eval(element)) for element in elements)
        if outer == "Annotated":
            return _values(elements[0], bounds)
        if outer == "dict":
            return "names with values, such as {'r': 4}"
        return "several values" if outer in ("tuple", "list", "Sequence") else ast.unparse(annotation)
    name = ast.unparse(annotation)
    words = {"int": "a whole number", "float": "a number", "bool": "True or False", "str": "text", "None": "None"}
    if name not in words:
        return name
    if name not in ("int", "float") or not bounds:
        return words[name]
    if name == "float" and set(bounds) == {"ge", "le"}:
        return f"{bounds['ge']} to {bounds['le']}"
    return ", ".join([words[name], *(BOUNDS[bound].format(value) for bound, value in bounds.items())])
