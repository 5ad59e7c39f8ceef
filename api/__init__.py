"""HTTP doors: OCPI for partners, `/api/v1` for operators and administrators, the dashboard for people.

What enters: requests. What leaves: commands to the log, documents of the read store, and answers that each follow
their own door's rules. What it never does: decide a business rule, import `gateway`, or keep anything.
"""
