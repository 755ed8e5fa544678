;; Runs cases on Datomic's peer library in memory: a case as EDN on each line of the input, its answers as EDN on a line of the output.
;;
;;   case    {:steps [step ...]}, on a new database
;;   step    {:tx forms}                                              the facts that it adds and retracts
;;           {:query query, :args [value ...], :view view}            its result
;;           {:pull pattern, :eid entity, :view view}                 its result
;;   view    nil, {:as-of n}, {:since n} or {:history true}; n is the number of a transaction of the case
;;   answer  [:ok value], [:error message], or [:late] after ten seconds
;;
;; {:old n} in a step stands for the n-th entity that the case knows, in a circle, or for an enum; in an answer, an entity is the keyword of its name.
(ns peer
  (:require [clojure.edn :as edn]
            [clojure.string :as str]
            [clojure.walk :as walk]
            [datomic.api :as d]))

(def longest-ms 10000)
(def first-id "entities of users have ids above; below are those of attributes, which look like any number" (bit-shift-left 1 42))
(defmethod print-method java.net.URI [uri writer] (.write writer (str "#uri " (pr-str (str uri)))))

(defn message [^Throwable error]
  (let [cause (last (take-while some? (iterate #(.getCause ^Throwable %) error)))]
    (str (.getSimpleName (class cause)) ": " (.getMessage ^Throwable cause))))

(defn old? [x] (and (map? x) (= [:old] (keys x))))

(defn fill
  "A form with its placeholders replaced by ids; without any known entity, by an enum."
  [{:keys [known]} form]
  (walk/prewalk #(if (old? %) (if (seq @known) (first (nth @known (mod (:old %) (count @known)))) :color/red) %) form))

(defn learn!
  "Name the entities that a transaction has made: by its number and the tempid, in order of tempids."
  [{:keys [known names txs]} {:keys [tempids db-after tx-data]}]
  (let [n (count (swap! txs conj (:tx (first tx-data))))]
    (when (= 1 n)
      (doseq [ident [:color/red :color/blue]] (swap! names assoc (d/entid db-after ident) ident)))
    (swap! names assoc (peek @txs) (keyword "e" (str "tx" n)))
    (doseq [[tempid id] (sort-by key (filter (comp string? key) tempids))
            :when (not (@names id))]
      (let [label (keyword "e" (str tempid n))]
        (swap! names assoc id label)
        (swap! known conj [id label])))))

(defn plain [x]
  (cond
    (instance? java.util.Map x) (into {} (for [[k v] x] [(plain k) (plain v)]))
    (instance? java.util.Set x) (set (map plain x))
    (instance? java.util.List x) (mapv plain x)
    :else x))

(defn named [{:keys [names conn]} x]
  (let [db (d/db conn)]
    (walk/postwalk #(if (int? %) (or (@names %) (when (> % first-id) (d/ident db %)) %) %) (plain x))))

(defn entity-named [world db id]
  (let [found (named world id)] (if (int? found) (or (d/ident db found) found) found)))

(defn facts
  "The facts of a transaction, without its instant and those by which Datomic registers attributes."
  [world {:keys [tx-data db-after]}]
  (vec (for [[e a v _ added] tx-data
             :let [ident (d/ident db-after a)
                   ref? (= :db.type/ref (:value-type (d/attribute db-after a)))]
             :when (not (#{:db/txInstant :db.install/attribute :db.alter/attribute} ident))]
         [(entity-named world db-after e) ident (if ref? (entity-named world db-after v) (named world v)) added])))

(defn view [{:keys [conn txs]} {:keys [as-of since history]}]
  (let [db (d/db conn)
        at #(if (seq @txs) (nth @txs (mod % (count @txs))) 0)]
    (cond-> db as-of (d/as-of (at as-of)) since (d/since (at since)) history d/history)))

(defn run-step [{:keys [conn] :as world} step]
  (let [{:keys [tx query args pull eid] :as filled} (fill world (dissoc step :view))]
    (cond
      tx (let [report @(d/transact conn tx)] (learn! world report) (facts world report))
      query (named world (apply d/q query (view world (:view step)) args))
      :else (named world (d/pull (view world (:view step)) pull eid)))))

(defn answer [world step]
  (let [running (future (try [:ok (run-step world step)] (catch Throwable error [:error (message error)])))
        found (deref running longest-ms [:late])]
    (future-cancel running)
    found))

(defn run [{:keys [steps]}]
  (let [uri (str "datomic:mem://" (d/squuid))
        _ (d/create-database uri)
        world {:conn (d/connect uri), :known (atom []), :names (atom {}), :txs (atom [])}]
    (try
      (mapv #(answer world %) steps)
      (finally (d/release (:conn world)) (d/delete-database uri)))))

(binding [*print-namespace-maps* false, *out* *out*]
  (doseq [line (line-seq (java.io.BufferedReader. *in*))]
    (println (pr-str (try (run (edn/read-string {:readers {'uri #(java.net.URI. %)}} line))
                          (catch Throwable error [[:error (message error)]]))))
    (flush)))
(shutdown-agents)
(System/exit 0)
