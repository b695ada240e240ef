"""The page on which people rate samples: ``hitl-fast collect DATA --out ratings.db``.

`items` reads a data set item by item, `store` keeps questions and answers in SQLite, `schedule` says what is asked
next, `server` is the web application, and `page/` what the browser loads.
"""
