"""How far an answer reaches: is a subtomogram none of the classes, are these data what was trained on?"""
