;; The durable row of benchmarks/datomic.py in Datomic Local (com.datomic/local) on disk: the same program for one row.
;; See datomic.clj for the arguments and the protocol.
(require '[clojure.java.io :as io] '[clojure.string :as str] '[datomic.client.api :as d])

(def folder (first *command-line-args*))
(def samples (min 5 (long (parse-double (last *command-line-args*)))))
(def columns [:name :last :sex :age :salary])
(def schema
  (into [{:db/ident :pid :db/valueType :db.type/long :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}]
        (for [[a t] [[:name "string"] [:last "string"] [:sex "string"] [:age "long"] [:salary "long"]]]
          {:db/ident a :db/valueType (keyword "db.type" t) :db/cardinality :db.cardinality/one})))
(defn person [[pid n l s a y]]
  {:pid (parse-long pid) :name n :last l :sex s :age (parse-long a) :salary (parse-long y)})
(def people
  (with-open [r (io/reader (io/file folder "people.tsv"))] (mapv #(person (str/split % #"\t")) (take 300 (line-seq r)))))

(def client (d/client {:server-type :datomic-local :storage-dir (str folder "/local") :system "benchmark"}))
(defn fresh []
  (let [name (str (random-uuid))] (d/create-database client {:db-name name}) (d/connect client {:db-name name})))
(defn upserts
  "Seconds of a transaction that upserts five attributes of which one changes, and the values after all of them."
  []
  (let [conn (fresh)
        _ (doseq [tx [schema people]] (d/transact conn {:tx-data tx}))
        txs (mapv (fn [p] [(update p :salary inc)]) people)
        start (System/nanoTime)
        _ (doseq [tx txs] (d/transact conn {:tx-data tx}))
        seconds (/ (- (System/nanoTime) start) 1e9 (count txs))
        db (d/db conn)]
    [seconds (into [] (mapcat (fn [a] (map :v (d/datoms db {:index :aevt :components [a] :limit -1})))) columns)]))

(doseq [_ (line-seq (io/reader *in*))]
  (upserts)
  (let [found (doall (repeatedly samples upserts))
        seconds (sort (map first found))
        values (second (last found))]
    (println (format "{\"min\": %s, \"median\": %s, \"count\": %d, \"sum\": %s}" (first seconds) (nth seconds (quot samples 2))
                     (count values) (double (reduce + (filter number? values)))))
    (flush)))
(shutdown-agents)
(System/exit 0)
