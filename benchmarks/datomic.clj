;; The rows of benchmarks/datomic.py in Datomic (com.datomic/peer, in memory). datomic.py starts this with a folder of data, seconds to
;; warm up, seconds of a sample and the number of samples, and writes the name of a row per line; the answer is a line of JSON: the least and
;; the middle seconds per operation, and the count and the sum of the answer, in which a number of a person stands for an entity.
(require '[clojure.java.io :as io] '[clojure.string :as str] '[datomic.api :as d])

(def folder (first *command-line-args*))
(def settings (mapv parse-double (rest *command-line-args*)))
(def warm-s (settings 0))
(def span-s (settings 1))
(def samples (long (settings 2)))

;; ------------------------------------------------------------------------------------------------------------ measuring
(defn now ^double [] (/ (System/nanoTime) 1e9))
(def ^java.lang.management.ThreadMXBean threads (java.lang.management.ManagementFactory/getThreadMXBean))
(defn cpu
  "Seconds of the processor that all threads have used."
  []
  (/ (reduce + (map #(max 0 (.getThreadCpuTime threads %)) (.getAllThreadIds threads))) 1e9))
(defn clocks [] [(now) (cpu)])
(defn passed
  "Seconds since `start`: on the clock or, where the machine was busy with other programs, of the processor."
  [[wall used]]
  (let [by-clock (- (now) wall) by-processor (- (cpu) used)]
    (if (pos? by-processor) (min by-clock by-processor) by-clock)))
(defn middle [xs] (nth (sort xs) (quot (count xs) 2)))
(defn lasting
  "Seconds of a run, over as many runs as fill a sample."
  [run]
  (let [[start :as begun] (clocks)]
    (loop [times 1]
      (run)
      (if (< (- (now) start) span-s) (recur (inc times)) (/ (passed begun) times)))))

(def warmed (atom #{})) ; the rows that were measured before
(def row-now (atom nil))
(defn repeated
  "Measure a run that can be repeated, after it has been warmed up; the second time a short warm-up is enough.
  The seconds to warm up are those of the processor, but at most five times as many of the clock."
  [operations run]
  (let [seconds (if (@warmed @row-now) (/ warm-s 8) warm-s)
        [wall used] (clocks)]
    (while (and (< (- (cpu) used) seconds) (< (- (now) wall) (* 5 seconds))) (run)))
  (swap! warmed conj @row-now)
  (mapv #(/ % operations) (doall (repeatedly samples #(lasting run)))))

(defn once
  "Measure a run that needs a new database each time: `prepare` returns the run, and the run the database. Returns the last one, too."
  [operations prepare]
  (let [timed (fn [] (let [run (prepare) _ (System/gc) begun (clocks) after (run)] [(/ (passed begun) operations) after]))
        _ (when-not (@warmed @row-now) (timed))
        found (doall (repeatedly (min samples 5) timed))]
    (swap! warmed conj @row-now)
    [(mapv first found) (second (last found))]))

(defn total
  "The sum of the numbers of an answer; `numbers` maps entities to what stands for them."
  [numbers x]
  (cond (map? x) (reduce + 0 (map #(total numbers %) (vals x)))
        (or (coll? x) (instance? java.util.Collection x)) (reduce + 0 (map #(total numbers %) x))
        (number? x) (get numbers x x)
        :else 0))
(defn size [x] (if (or (coll? x) (instance? java.util.Collection x)) (count x) 1))
(defn reported [seconds answer numbers]
  {:min (apply min seconds) :median (middle seconds) :count (size answer) :sum (double (total numbers answer))})

;; ----------------------------------------------------------------------------------------------------------------- data
(defn table [file] (with-open [r (io/reader (io/file folder (str file ".tsv")))] (mapv #(str/split % #"\t") (line-seq r))))
(defn person [[pid n l s a y]]
  {:pid (parse-long pid) :name n :last l :sex s :age (parse-long a) :salary (parse-long y)})
(def people (delay (mapv person (table "people"))))
(def columns [:name :last :sex :age :salary])
(def identity-of {:db/valueType :db.type/long :db/cardinality :db.cardinality/one :db/unique :db.unique/identity})
(def schema
  (into [(assoc identity-of :db/ident :pid) (assoc identity-of :db/ident :key)
         {:db/ident :follows :db/valueType :db.type/ref :db/cardinality :db.cardinality/many}
         {:db/ident :value :db/valueType :db.type/long :db/cardinality :db.cardinality/one}]
        (for [[a t] [[:name "string"] [:last "string"] [:sex "string"] [:age "long"] [:salary "long"]]]
          {:db/ident a :db/valueType (keyword "db.type" t) :db/cardinality :db.cardinality/one :db/index true})))

(defn fresh [] (let [uri (str "datomic:mem://" (d/squuid))] (d/create-database uri) (doto (d/connect uri) (-> (d/transact schema) deref))))
(defn indexed [conn] (d/request-index conn) (deref (d/sync-index conn (d/basis-t (d/db conn))) 60000 nil) (d/db conn))
(defn by-number [db attribute] (into {} (map (fn [x] [(:v x) (:e x)])) (d/datoms db :aevt attribute)))
(defn inverted [m] (into {} (map (fn [[k v]] [v k])) m))

(def town (delay (let [conn (fresh)]
                   (doseq [part (partition-all 1000 @people)] @(d/transact conn (vec part)))
                   (let [db (indexed conn) ids (by-number db :pid)]
                     {:db db :numbers (inverted ids) :some (mapv ids (range 1 (count @people) 20))}))))

(defn crowd [shape]
  (let [edges (mapv #(mapv parse-long %) (table shape))
        conn (fresh)]
    @(d/transact conn (into (mapv (fn [n] {:db/id (str n) :pid n}) (distinct (flatten edges)))
                            (map (fn [[a b]] [:db/add (str a) :follows (str b)]) edges)))
    (let [db (indexed conn)] {:db db :numbers (inverted (by-number db :pid))})))

(def versions (delay (mapv (fn [[_ rows]] (mapv (fn [[_ k v]] {:key (parse-long k) :value (parse-long v)}) rows))
                           (sort-by #(parse-long (key %)) (group-by first (table "versions"))))))
(defn written-again []
  (let [conn (fresh)
        ts (mapv #(d/basis-t (:db-after @(d/transact conn %))) @versions)
        db (indexed conn) ids (by-number db :key)]
    {:db db :t (nth ts 4) :some (mapv ids (range 1 (count ids) 10))}))
(def past (delay (written-again)))

;; ---------------------------------------------------------------------------------------------------------------- reads
(def queries
  '{"q1" [:find ?e :where [?e :name "Ivan"]]
    "q2" [:find ?e ?a :where [?e :name "Ivan"] [?e :age ?a]]
    "q3" [:find ?e ?a :where [?e :name "Ivan"] [?e :age ?a] [?e :sex "male"]]
    "q4" [:find ?e ?l ?a :where [?e :name "Ivan"] [?e :last ?l] [?e :age ?a] [?e :sex "male"]]
    "q5" [:find ?e1 ?l ?a :where [?e :name "Ivan"] [?e :age ?a] [?e1 :age ?a] [?e1 :last ?l]]
    "predicate" [:find ?e ?s :where [?e :salary ?s] [(> ?s 50000)]]
    "count-by-name" [:find ?n (count ?e) :where [?e :name ?n]]
    "avg-by-name" [:find ?n (avg ?s) :with ?e :where [?e :name ?n] [?e :salary ?s]]
    "join-aggregate" [:find ?l (count ?e) (avg ?s) :where [?e :sex "male"] [?e :last ?l] [?e :salary ?s]]})
(def point '[:find ?a . :in $ ?p :where [?e :pid ?p] [?e :age ?a]])
(def rules '[[(follows ?x ?y) [?x :follows ?y]] [(follows ?x ?y) [?x :follows ?t] (follows ?t ?y)]])
(def closure '[:find ?x ?y :in $ % :where (follows ?x ?y)])
(def sum-of-values '[:find (sum ?v) . :with ?e :where [?e :value ?v]])
(def all-added '[:find (count ?v) . :with ?e ?t :where [?e :value ?v ?t true]])

(defn asked [run numbers] (let [answer (run)] (reported (repeated 1 run) answer numbers)))
(defn each
  "Measure a read of each of some things, one by one."
  [read things numbers]
  (let [answer (mapv read things)]
    (reported (repeated (count things) #(doseq [x things] (read x))) answer numbers)))

(def reads
  (merge
    (into {} (for [[row q] queries] [row #(asked (fn [] (d/q q (:db @town))) (:numbers @town))]))
    (into {} (for [shape ["wide-3x3" "wide-5x3" "wide-7x3" "wide-4x6" "long-10x3" "long-30x3" "long-30x5"]]
               [(str "rules-" shape) #(let [{:keys [db numbers]} (crowd shape)] (asked (fn [] (d/q closure db rules)) numbers))]))
    {"point" #(each (fn [p] (d/q point (:db @town) p)) (range 1 (count @people) 20) {})
     "pull" #(each (fn [e] (d/pull (:db @town) columns e)) (:some @town) {})
     "pull-all" #(each (fn [e] (d/pull (:db @town) '[*] e)) (:some @town) (:numbers @town))
     "pull-many" #(asked (fn [] (d/pull-many (:db @town) columns (:some @town))) {})
     "entity" #(each (fn [e] (:age (d/entity (:db @town) e))) (:some @town) {})
     "with" #(each (fn [e] (count (:tx-data (d/with (:db @town) [[:db/add e :age 101]])))) (:some @town) {})
     "pull-now" #(each (fn [e] (d/pull (:db @past) [:value] e)) (:some @past) {})
     "pull-as-of" #(each (fn [e] (d/pull (d/as-of (:db @past) (:t @past)) [:value] e)) (:some @past) {})
     "history-entity" #(each (fn [e] (mapv :v (seq (d/datoms (d/history (:db @past)) :eavt e :value)))) (:some @past) {})
     "now-aggregate" #(asked (fn [] (d/q sum-of-values (:db @past))) {})
     "as-of-aggregate" #(asked (fn [] (d/q sum-of-values (d/as-of (:db @past) (:t @past)))) {})
     "as-of-aggregate-first" #(let [[seconds sum] (once 1 (fn [] (let [{:keys [db t]} (written-again)] (fn [] (d/q sum-of-values (d/as-of db t))))))]
                                (reported seconds sum {}))
     "history-aggregate" #(asked (fn [] (d/q all-added (d/history (:db @past)))) {})}))

;; --------------------------------------------------------------------------------------------------------------- writes
(defn left
  "What is asserted of the people: the values of the five attributes."
  [conn]
  (let [db (d/db conn)] (into [] (mapcat (fn [a] (map :v (d/datoms db :aevt a)))) columns)))
(defn written
  "Measure transactions one by one in a new database; `start` is what it contains, `forms` makes them from the ids of the people."
  [start forms]
  (let [made (atom 0)
        prepare (fn []
                  (let [conn (fresh) _ (when start @(d/transact conn (start))) ids (by-number (d/db conn) :pid) txs (forms ids)]
                    (reset! made (count txs))
                    (fn [] (doseq [tx txs] @(d/transact conn tx)) conn)))
        [seconds conn] (once 1 prepare)]
    (reported (mapv #(/ % @made) seconds) (left conn) {})))
(defn everyone [] @people)
(def writes
  {"add-1" #(written (fn [] (mapv (fn [p] (select-keys p [:pid])) @people))
                     (fn [ids] (vec (for [p @people a columns] [[:db/add (ids (:pid p)) a (a p)]]))))
   "add-5" #(written nil (fn [_] (mapv vector @people)))
   "upsert" #(written everyone (fn [_] (mapv (fn [p] [(update p :salary inc)]) @people)))
   "lookup-ref" #(written everyone (fn [_] (mapv (fn [p] [[:db/add [:pid (:pid p)] :age 101]]) @people)))
   "cas" #(written everyone (fn [ids] (mapv (fn [p] [[:db/cas (ids (:pid p)) :age (:age p) 101]]) @people)))
   "retract-entity" #(written everyone (fn [ids] (mapv (fn [p] [[:db/retractEntity (ids (:pid p))]]) @people)))
   "add-all" #(written nil (fn [_] [@people]))})

(defn json [m] (str "{" (str/join ", " (map (fn [[k v]] (str "\"" (name k) "\": " v)) m)) "}"))
(let [work (merge reads writes)]
  (doseq [row (line-seq (io/reader *in*))]
    (reset! row-now row)
    (println (json ((work row))))
    (flush)))
(shutdown-agents)
(System/exit 0)
