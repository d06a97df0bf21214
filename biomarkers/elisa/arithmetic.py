"""Arithmetic written as text, such as ``((A280-A320)/0.049)/13.7*10``, evaluated without trusting it.

Knows the four operations, powers, signs, brackets, numbers and names. Must not know what the names stand for.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping

from biomarkers.errors import AssayError

LONGEST_FORMULA = 500

_OPERATIONS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}


def evaluate(formula: str, values: Mapping[str, float]) -> float:
    """Evaluate a formula; NaN where a step has no finite real result, as at 0/0.

    Raises
    ------
    AssayError
        The text is no arithmetic, or holds a name without a value.

    Examples
    --------
    >>> evaluate("((A280-A320)/0.125)*2^3", {"A280": 0.5, "A320": 0.25})
    16.0
    """
    if len(formula) > LONGEST_FORMULA:
        raise _not_understood(formula)
    try:
        tree = ast.parse(formula.strip().replace("^", "**"), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _not_understood(formula) from error
    try:
        result = _value(tree.body, values, formula)
    except (ZeroDivisionError, OverflowError):
        return math.nan
    return result if math.isfinite(result) else math.nan


def _value(node: ast.expr, values: Mapping[str, float], formula: str) -> float:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return float(number)
        case ast.Name(id=name) if name in values:
            return values[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, values, formula)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand, values, formula)
        case ast.BinOp(op=operation, left=left, right=right) if type(operation) in _OPERATIONS:
            result = _OPERATIONS[type(operation)](_value(left, values, formula), _value(right, values, formula))
            # A negative number to a broken power is complex, and no concentration.
            return result if isinstance(result, float) else math.nan
        case _:
            raise _not_understood(formula)


def _not_understood(formula: str) -> AssayError:
    return AssayError(
        what=f"The formula '{formula[:80]}' is no plain arithmetic of named values.",
        where="Formula.",
        remedy="Compare this step by hand.",
    )
