"""Methods of explanation as pure functions of a question: for every plugin, by name.

`question.py` says what is asked, `registry.py` lists the methods and explains by name, `probe.py` refuses a method on
a model where it would be silently wrong. All of them are to be called inside `explaining(task)`.
"""
