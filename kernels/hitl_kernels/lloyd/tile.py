"""The inner product at the heart of the E-step: a few rows times a panel of centroids, held in registers.

Numba's loops vectorise along one array. A matrix product needs a block of sums in registers, so that each number
that is loaded serves many of them: the block is written in LLVM's vector types, which LLVM lowers to what the
machine has.

Own code because it is faster than BLAS here, and independent of its threads. Beside a tile of rows given to
BLAS with the argmin fused in Numba, CPU time of the E-step on an AMD EPYC, MKL / OpenBLAS over this: (50k, 512,
100) 1.7 / 1.5, (300k, 64, 10) 2.4 / 2.4, (50k, 512, 1000) 1.3 / 1.2; beside the product alone 1.3 / 1.1, 1.2 / 1.0,
1.0 / 0.9.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, overload
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

# With 32 registers of 16 lanes 8 x 3 of them hold sums, with 16 of 8 lanes 4 x 3: the rest hold what is loaded.
WIDE = bool(llvmlite.binding.get_host_cpu_features().get("avx512f"))
LANES = 16 if WIDE else 8
ROWS = 8 if WIDE else 4
PANEL = 3 * LANES  # centroids in a panel; the last one may have one or two times LANES
LINE = 16  # numbers in a line of the cache

MATRIX, VECTOR, INDEX = types.Array(types.float32, 2, "C"), types.Array(types.float32, 1, "C"), types.int64


def make_tile(vectors: int) -> Callable[..., None]:
    """``tile`` for panels of ``vectors`` times LANES centroids."""
    width = vectors * LANES

    def tile(
        x: Float32,
        row: int,
        depth: int,
        panels: Float32,
        offset: int,
        out: Float32,
        column: int,
        add: bool,
        source: Float32,
        ahead: int,
    ) -> None:
        """ROWS rows of x from row on, their first depth columns, times a panel: to out[row:, column:].

        The panel is (depth, width), row by row at panels[offset:]. Adds to what is in out, or overwrites it.
        Meanwhile the cache is asked for ``LINE // 2 * depth`` numbers of source from the ahead-th on.
        """
        panel = panels[offset : offset + depth * width].reshape(depth, width)
        place = out[row : row + ROWS, column : column + width]
        place[:] = x[row : row + ROWS, :depth] @ panel + (place if add else 0)

    in_registers = intrinsic(_typed(width))

    @overload(tile, strict=False)  # strict would compare annotations too
    def compiled(  # pragma: no cover (runs inside the compiler)
        x: Any,
        row: Any,
        depth: Any,
        panels: Any,
        offset: Any,
        out: Any,
        column: Any,
        add: Any,
        source: Any,
        ahead: Any,
    ) -> Callable[..., None]:
        return lambda x, row, depth, panels, offset, out, column, add, source, ahead: in_registers(
            x, row, depth, panels, offset, out, column, add, source, ahead
        )

    return tile


def _typed(width: int) -> Callable[..., Any]:  # pragma: no cover (runs inside the compiler)
    def tile(
        _context: Any,
        x: Any,
        row: Any,
        depth: Any,
        panels: Any,
        offset: Any,
        out: Any,
        column: Any,
        add: Any,
        source: Any,
        ahead: Any,
    ) -> tuple[Any, Callable[..., Any]]:
        signature = types.void(
            MATRIX, INDEX, INDEX, VECTOR, INDEX, MATRIX, INDEX, types.boolean, MATRIX, INDEX
        )

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            arrays = [
                context.make_array(kind)(context, builder, value) if isinstance(kind, types.Array) else value
                for kind, value in zip(signature.args, arguments, strict=True)
            ]
            _emit(builder, width, *arrays)
            return context.get_dummy_value()

        return signature, generate

    return tile


def _emit(  # pragma: no cover (runs inside the compiler)
    b: Any,
    width: int,
    x: Any,
    row: Any,
    depth: Any,
    panels: Any,
    offset: Any,
    out: Any,
    column: Any,
    add: Any,
    source: Any,
    ahead: Any,
) -> None:
    index, lane = ir.IntType(64), ir.IntType(32)
    vectors = range(0, width, LANES)  # the column that each vector of a row of sums begins at
    kind = ir.VectorType(ir.FloatType(), LANES)
    fast = ("contract", "nsz")

    def at(base: Any, offset: Any) -> Any:
        return b.gep(base, [offset])

    def vector_at(base: Any, offset: int) -> Any:
        return b.bitcast(at(base, index(offset)), kind.as_pointer())

    def row_of(array: Any, number: Any) -> Any:
        return at(array.data, b.mul(number, b.extract_value(array.shape, 1)))

    x_rows = [row_of(x, b.add(row, index(r))) for r in range(ROWS)]
    out_rows = [at(row_of(out, b.add(row, index(r))), column) for r in range(ROWS)]
    panel = at(panels.data, offset)
    soon = at(source.data, ahead)
    before = b.block
    loop, after, adding, store = (b.append_basic_block(name) for name in ("depth", "sums", "add", "store"))
    b.branch(loop)

    b.position_at_end(loop)
    d = b.phi(index)
    sums = {}
    for r in range(ROWS):
        for v in vectors:
            sums[r, v] = b.phi(kind)
            sums[r, v].add_incoming(ir.Constant(kind, [0.0] * LANES), before)
    _emit_prefetch(b, at(soon, b.mul(d, index(LINE // 2))))
    panel_row = at(panel, b.mul(d, index(width)))
    loaded = {v: b.load(vector_at(panel_row, v), align=4) for v in vectors}
    totals = {}
    for r in range(ROWS):
        number = b.load(at(x_rows[r], d))
        for v in vectors:
            everywhere = ir.Constant(ir.VectorType(lane, LANES), [0] * LANES)
            one = b.insert_element(ir.Constant(kind, ir.Undefined), number, lane(0))
            spread = b.shuffle_vector(one, ir.Constant(kind, ir.Undefined), everywhere)
            totals[r, v] = b.fadd(sums[r, v], b.fmul(spread, loaded[v], flags=fast), flags=fast)
    following = b.add(d, index(1))
    d.add_incoming(index(0), before)
    d.add_incoming(following, loop)
    for place, total in totals.items():
        sums[place].add_incoming(total, loop)
    b.cbranch(b.icmp_signed("<", following, depth), loop, after)

    b.position_at_end(after)
    b.cbranch(add, adding, store)

    b.position_at_end(adding)
    added = {}
    for r in range(ROWS):
        for v in vectors:
            added[r, v] = b.fadd(b.load(vector_at(out_rows[r], v), align=4), totals[r, v])
    b.branch(store)

    b.position_at_end(store)
    for r in range(ROWS):
        for v in vectors:
            result = b.phi(ir.VectorType(ir.FloatType(), LANES))
            result.add_incoming(totals[r, v], after)
            result.add_incoming(added[r, v], adding)
            added[r, v] = result
    for r in range(ROWS):
        for v in vectors:
            b.store(added[r, v], vector_at(out_rows[r], v), align=4)


def lowest_scores(
    products: Float32, row: int, column: int, norms: Float32, first: int
) -> tuple[float, int, float]:
    """The lowest of ``norms[first + k] - 2 * products[row, column + k]`` over a panel, its first k, and the next."""
    scores = norms[first : first + PANEL] - 2 * products[row, column : column + PANEL]
    k = int(scores.argmin())
    return scores[k], k, np.delete(scores, k).min()


def lowest_score(products: Float32, row: int, column: int, norms: Float32, first: int) -> tuple[float, int]:
    """The first two of ``lowest_scores``."""
    return lowest_scores(products, row, column, norms, first)[:2]


@intrinsic(prefer_literal=True)
def _lowest_in_registers(  # pragma: no cover (runs inside the compiler)
    _context: Any, products: Any, row: Any, column: Any, norms: Any, first: Any, following: Any
) -> tuple[Any, Callable[..., Any]]:
    kinds = (types.float32, types.int64, types.float32)
    next_too = following.literal_value
    result = types.Tuple(kinds if next_too else kinds[:2])  # type: ignore[attr-defined]

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        products, norms = (context.make_array(signature.args[n])(context, b, arguments[n]) for n in (0, 3))
        index, kind = ir.IntType(64), ir.VectorType(ir.FloatType(), LANES)
        lane, lanes = ir.IntType(32), ir.VectorType(ir.IntType(32), LANES)
        place = b.add(b.mul(arguments[1], b.extract_value(products.shape, 1)), arguments[2])
        product, norm = b.gep(products.data, [place]), b.gep(norms.data, [arguments[4]])

        def load(base: Any, offset: int) -> Any:
            return b.load(b.bitcast(b.gep(base, [index(offset)]), kind.as_pointer()), align=4)

        def smaller(one: Any, other: Any) -> Any:
            return b.select(b.fcmp_ordered("<", one, other), one, other)

        undefined = ir.Constant(kind, ir.Undefined)

        def least(vectors: list[Any]) -> Any:
            """The smallest number of all, in every lane."""
            found = functools.reduce(smaller, vectors)
            distance = LANES // 2
            while distance:
                turned = [lane ^ distance for lane in range(LANES)]
                turn = ir.Constant(lanes, turned)
                found = smaller(found, b.shuffle_vector(found, undefined, turn))
                distance //= 2
            return found

        two = ir.Constant(kind, [2.0] * LANES)
        scores = [b.fsub(load(norm, v), b.fmul(two, load(product, v))) for v in range(0, PANEL, LANES)]
        lowest = least(scores)
        places = index(0)
        for v, part in enumerate(scores):
            bits = b.bitcast(b.fcmp_ordered("==", part, lowest), ir.IntType(LANES))
            places = b.or_(places, b.shl(b.zext(bits, index), index(v * LANES)))
        k = b.cttz(places, ir.IntType(1)(0))
        if not next_too:
            return context.make_tuple(b, result, (b.extract_element(lowest, lane(0)), k))
        one = b.insert_element(ir.Constant(lanes, ir.Undefined), b.trunc(k, lane), lane(0))
        spread = b.shuffle_vector(one, ir.Constant(lanes, ir.Undefined), ir.Constant(lanes, [0] * LANES))
        others = [
            b.select(
                b.icmp_signed("==", spread, ir.Constant(lanes, list(range(v * LANES, (v + 1) * LANES)))),
                ir.Constant(kind, [math.inf] * LANES),
                part,
            )
            for v, part in enumerate(scores)
        ]
        values = [b.extract_element(vector, lane(0)) for vector in (lowest, least(others))]
        return context.make_tuple(b, result, (values[0], k, values[1]))

    return result(MATRIX, INDEX, INDEX, VECTOR, INDEX, following), generate


@overload(lowest_score, strict=False)
def _compiled_lowest_score(  # pragma: no cover (runs inside the compiler)
    products: Any, row: Any, column: Any, norms: Any, first: Any
) -> Callable[..., Any]:
    return lambda products, row, column, norms, first: _lowest_in_registers(
        products, row, column, norms, first, 0
    )


@overload(lowest_scores, strict=False)
def _compiled_lowest_scores(  # pragma: no cover (runs inside the compiler)
    products: Any, row: Any, column: Any, norms: Any, first: Any
) -> Callable[..., Any]:
    return lambda products, row, column, norms, first: _lowest_in_registers(
        products, row, column, norms, first, 1
    )


def prefetch(array: Float32, row: int, column: int) -> None:
    """Asks the cache for the line of that element; means nothing to Python."""


@intrinsic
def _prefetch(  # pragma: no cover (runs inside the compiler)
    _context: Any, array: Any, row: Any, column: Any
) -> tuple[Any, Callable[..., Any]]:
    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        values = context.make_array(signature.args[0])(context, b, arguments[0])
        place = b.add(b.mul(arguments[1], b.extract_value(values.shape, 1)), arguments[2])
        _emit_prefetch(b, b.gep(values.data, [place]))
        return context.get_dummy_value()

    return types.void(MATRIX, INDEX, INDEX), generate


def _emit_prefetch(b: Any, address: Any) -> None:  # pragma: no cover (runs inside the compiler)
    number, pointer = ir.IntType(32), ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
    function = cgutils.get_or_insert_function(b.module, kind, "llvm.prefetch.p0")
    # To be read, into the second-level cache, as data.
    b.call(function, [b.bitcast(address, pointer), number(0), number(2), number(1)])


@overload(prefetch, strict=False)
def _compiled_prefetch(  # pragma: no cover (runs inside the compiler)
    array: Any, row: Any, column: Any
) -> Callable[..., Any]:
    return lambda array, row, column: _prefetch(array, row, column)
