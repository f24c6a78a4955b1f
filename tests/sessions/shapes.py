"""Shapes of sessions, drawn at random."""

from hypothesis import strategies as st

from swarm.sessions.presets import Shape, SubAgents
from swarm.sessions.spread import Spread


@st.composite
def spreads(draw, least, most):
    median = draw(st.integers(least, most))
    p90 = draw(st.integers(median, most))
    return Spread(median, p90, draw(st.integers(p90, most)), least)


@st.composite
def shapes(draw):
    """Many are of no use, as their context is too short."""
    return Shape(
        context=draw(st.integers(1_000, 20_000)),
        system=draw(st.integers(50, 2_000)),
        prompt=draw(spreads(20, 3_000)),
        message=draw(spreads(20, 500)),
        growth=draw(spreads(20, 4_000)),
        reply=draw(spreads(5, 400)),
        turns=draw(spreads(1, 8)),
        messages=draw(spreads(1, 4)),
        tools=draw(spreads(0, 5)),
        pause=draw(spreads(0, 5)),
        compaction=draw(st.booleans()),
        side_calls=draw(st.booleans()),
        sub_agents=SubAgents(
            share=draw(st.sampled_from([0.0, 0.5, 1.0])),
            fan_out=draw(st.integers(1, 8)),
            background=draw(st.sampled_from([0.0, 0.5, 1.0])),
            system=draw(st.integers(50, 500)),
            turns=draw(spreads(1, 4)),
            prompt=draw(spreads(20, 300)),
            result=draw(spreads(20, 400)),
        ),
    )
