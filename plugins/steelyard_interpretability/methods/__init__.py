"""Methods of explanation as pure functions of a question: for every plugin, by name.

`question.py` says what is asked, `registry.py` lists the methods and explains by name. A method raises
`ValueError` on a model where it knows itself to be wrong. All of them are to be called inside `explaining(task)`.
"""
