"""Search: cells suggested one after the other by Optuna, on what the earlier ones have shown.

The way of a suggestion. A pass reads the growth of the sweep and the trials' files into a :class:`~core.control.search.study.SearchState`;
:func:`~core.control.search.steps.steps`, part of the pure decision, says how many cells to ask for, which trials to stop and which
replicates to add; the tick rebuilds the study from that state, asks Optuna, and writes the answer as one record of the growth.
Nothing else remembers anything: no study file, no server, no order of arrival. So a pass that is killed has written its record or
will ask the same again, and of two passes at once one writes.
"""
