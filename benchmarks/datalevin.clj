;; Reads of the people data in Datalevin, for benchmarks/reading.py, which runs this and pipes the data in:
;; a line a person, tabs between id, name, last, sex, age, salary and the ids of friends. Prints a line a metric: name, seconds.
;; Each read is warmed up for two seconds; the least of seven samples counts.
(ns reading
  (:require [clojure.string :as str] [datalevin.core :as d])
  (:import [java.io BufferedReader File]
           [java.nio.file Files]
           [java.nio.file.attribute FileAttribute]))

(def scalars {:name :db.type/string :last :db.type/string :sex :db.type/string :age :db.type/long :salary :db.type/long})
(def schema (-> (into {} (for [[a t] scalars] [a {:db/valueType t}]))
                (assoc :friends {:db/valueType :db.type/ref :db/cardinality :db.cardinality/many}
                       :next {:db/valueType :db.type/ref})))
(def nested '[:name {:friends [:name :age {:friends [:name]}]}])

(defn person [line]
  (let [[e n l s a y next & friends] (str/split line #"\t")]
    {:db/id (parse-long e) :name n :last l :sex s :age (parse-long a) :salary (parse-long y)
     :next (parse-long next) :friends (mapv parse-long friends)}))

(defn seconds [f]
  (let [start (System/nanoTime)] (f) (/ (- (System/nanoTime) start) 1e9)))

(defn measure [metric operations f]
  (let [end (+ (System/nanoTime) 2000000000)]
    (while (< (System/nanoTime) end) (f)))
  (println metric (/ (apply min (repeatedly 7 #(seconds f))) operations))
  (flush))

(let [people (mapv person (line-seq (BufferedReader. *in*)))
      dir (str (Files/createTempDirectory "datalevin" (make-array FileAttribute 0)))
      conn (d/get-conn dir schema {:kv-opts {:flags #{:nordahead :writemap :nosync}}})]
  (doseq [part (partition-all 5000 people)] (d/transact! conn (mapv #(dissoc % :next :friends) part)))
  (doseq [part (partition-all 5000 people)] (d/transact! conn (mapv #(select-keys % [:db/id :next :friends]) part)))
  (let [db (d/db conn)
        ids (mapv :db/id people)
        some-ids (subvec ids 0 500)
        attributes (vec (keys scalars))]
    (assert (= 3 (count (:friends (d/pull db nested (first ids))))))
    (measure "pull" 1000 #(doseq [e (subvec ids 0 1000)] (d/pull db attributes e)))
    (measure "pull_many" 1 #(count (d/pull-many db attributes (subvec ids 0 1000))))
    (measure "nested" 500 #(doseq [e some-ids] (d/pull db nested e)))
    (measure "nested_many" 500 #(count (d/pull-many db nested some-ids)))
    (measure "step" 1000 #(loop [here (d/entity db (first ids)) n 1000] (when (pos? n) (recur (:next here) (dec n)))))
    (measure "attribute" 2500 #(doseq [e some-ids] (let [here (d/entity db e)] (doseq [a attributes] (a here))))))
  (d/close conn)
  (shutdown-agents))
