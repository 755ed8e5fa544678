;; Asks Datomic for the calls of docs/reference/functions.edn and prints what it answers, one `[call answer]` a line.
;;     java -cp CLASSPATH clojure.main tests/factstore/recorded/ask.clj docs/reference/functions.edn
;; CLASSPATH holds com.datomic/peer. An answer that is an error is printed as :error, and that of a variable that is not bound as nil.
(require '[clojure.edn :as edn] '[datomic.api :as d])
(set! *print-namespace-maps* false)
(defmethod print-method java.net.URI [uri writer] (.write writer (str "#uri " (pr-str (str uri)))))
(doseq [entry (edn/read-string (slurp (first *command-line-args*)))
        :when (vector? entry)
        call (filter seq? (drop 2 entry))]
  (let [answer (try (d/q [:find '?r '. :in '[?x ...] :where [call '?r]] [1]) (catch Throwable _ :error))]
    (println (pr-str [call answer]))))
(shutdown-agents)
(System/exit 0)
