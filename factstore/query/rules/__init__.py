"""Rules, recursive ones included: transitive closure, right-linear recursion, semi-naive evaluation, tabling."""
