"""The dynamics lab: games with known answers, solvers for any game, closed forms and instruments."""
