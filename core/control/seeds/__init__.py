"""Sequential seeds: a cell gets a further seed where its question is still open, and nowhere else.

A pass reads the trials' files into a :class:`~core.control.seeds.state.SeedsState`; :func:`~core.control.seeds.state.further`, part of the
pure decision, says which cells get which seeds; the tick writes them as one record of the sweep's growth, compared and appended. So
of two passes at once one adds seeds, and a pass that is killed has added all of its round or nothing. A seed that is added is the ordinary
trial of its cell with that seed: its id says nothing of the rule, and a result that stands already is taken as it is.
"""
