"""Ensembles: several ScoreTables become one, which trains nothing and to which every metric and test applies.

:mod:`.config` has the rules' configurations, :mod:`.rules` the rules, :mod:`.combine` what holds for all of them. A rule is a component of
the kind ``ensemble_rule``: a file in ``code:`` may register another one.
"""
