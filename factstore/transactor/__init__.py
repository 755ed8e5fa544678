"""The transactor: one process that commits the transactions of all others, so that each append has many of them.

    client (any process)                                   server (the leader)
    transaction ──► codec ──► frames ──── TLS, HMAC ────► frames ──► codec ──► queue of the committer ──► one append
    report      ◄── codec ◄── frames ◄──────────────────── frames ◄── codec ◄──────────── outcome of each ◄──╯

    frames     messages on a stream of bytes                tls        certificate and fingerprint
    codec      transactions, answers and errors as bytes    handshake  proofs that both sides know the secret
    messages   the fields of requests and answers           routing    a committer that sends its transactions
    server     accepts transactions                         client     sends them, and waits for the answers
    service    the process: leads, or waits to lead

The row of the store names the leader: its address, the fingerprint of its certificate, and the secret. A message
contains data only: functions are those that the transactor has imported, by name.
Law: a transaction has a txid that its client chooses, and is committed at most once, however often it is sent.
"""
