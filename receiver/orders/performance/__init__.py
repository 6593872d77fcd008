"""Couriers' performance: what each ended order counts for, daily sums of that, and reports.

counters.py says what an order counts for; record.py stores it, in the transaction that changes the
order, and adds it to the sums of its day later; report.py reads both. So a report is always what
the stored orders come to, and is as fast for a million orders as for a thousand.
"""
