"""The benchmark of the LUSIFER paper: 133 tasks in 14 languages, run by mteb, reported as the paper's tables.

Needs the extra ``evaluate``; only ``runner`` and ``local`` import mteb.
"""
