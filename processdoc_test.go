package sluice

// processDoc is the part of the page on DataFrames for those who know the processors of
// other engines.
const processDoc = `
## Coming from transformWithState or KeyedProcessFunction

` + "`df.KeyBy(keys).Process(name, make, columns, options...)`" + ` is Spark's ` + "`groupByKey(..).transformWithState(..)`" + ` and Flink's
` + "`keyBy(..).process(..)`" + `. The same code runs over a table, where it gives what the stream gives in the end.

| Spark | Flink | here |
|---|---|---|
| ` + "`StatefulProcessor.init`" + ` | ` + "`open`" + ` | ` + "`Open`" + `: states are declared there |
| ` + "`handleInputRows`" + ` | ` + "`processElement`" + `, one row at a time | ` + "`Process`" + `: the rows that a batch has of a key, in the source's order or by ` + "`InOrderOf`" + ` |
| ` + "`ValueState`, `ListState`, `MapState`" + ` | the same | ` + "`NewValueState`, `NewListState`, `NewMapState`" + `; a map is in the order of its keys |
| ` + "`ReducingState`, `AggregatingState`" + `: none | there | a ` + "`ValueState`" + `: reading and writing it costs no more |
| ` + "`TTLConfig`" + ` per state | ` + "`StateTtlConfig`" + ` | ` + "`StateTTL`" + ` per state, ` + "`DefaultTTL`" + ` for all; by the batch's time, per value, element and entry |
| | ` + "`OnCreateAndWrite`" + ` / ` + "`OnReadAndWrite`" + ` | without / with ` + "`TTLOnRead`" + `; what is over is never seen |
| ` + "`registerTimer`, `deleteTimer`, `listTimers`" + ` | ` + "`registerEventTimeTimer`, `deleteEventTimeTimer`" + ` | ` + "`SetEventTimer`, `DeleteEventTimer`, `EventTimers`" + ` |
| ` + "`TimeMode.ProcessingTime`" + `, fires with the next batch | ` + "`registerProcessingTimeTimer`" + ` | ` + "`SetClockTimer`, `DeleteClockTimer`, `ClockTimers`" + `, beside the others; a batch without data is made for them |
| ` + "`handleExpiredTimer`" + ` | ` + "`onTimer`" + ` | ` + "`OnTimer`" + `; over a table all fire behind the last row of a key, and ` + "`Ended`" + ` says so |
| ` + "`handleInitialState`" + ` | state processor API | ` + "`InitialState`" + ` and the method ` + "`Initial`" + ` |
| ` + "`eventTimeColumnName`" + ` | timestamps of what ` + "`collect`" + ` puts out | ` + "`EventTime`, `SideEventTime`" + `: windows, joins and processors above close by it. What is too old is late; Spark ends the query. ` + "`SetEventTimerHolding`" + ` holds it back |
| | side outputs | ` + "`SideOutput`, `EmitTo`, `DataFrame.SideOutput`" + `; ` + "`Writer.Also`" + ` writes several in one query |
| | ` + "`connect`, `KeyedCoProcessFunction`" + ` | ` + "`Connect`" + ` and the method ` + "`ProcessConnected`" + `: two keyed streams share states and timers |
| | broadcast state | a join with the table or stream of rules before ` + "`KeyBy`" + ` |
| ` + "`observe`" + ` | metrics | ` + "`Observe`" + ` before or behind ` + "`Process`" + ` |
| ` + "`OutputMode.Update`" + ` | retractions by ` + "`RowKind`" + ` | ` + "`UpdateBy`" + ` and ` + "`Delete`" + `: the output is a table, exact in queries above; ` + "`Rows.Change`" + ` tells of the input |
| schema evolution of a state | state serializer upgrade | fields that may be NULL come at the end; a state may be added; one that ` + "`Open`" + ` declares no more is dropped, key group by key group, as rows come |
| ` + "`readStateStore`" + ` | state processor API | ` + "`SELECT * FROM state('dir', 'process-name')`" + ` |
| ` + "`mapGroupsWithState`" + ` | | ` + "`Process`" + `; ` + "`MapGroups`" + ` is over all rows of a key, with no state of its own |

A timer by event time fires in the batch in which the watermark reaches it, behind the rows of that batch. What it puts
out may have the timer's time as event time: operators above have not closed that yet.
`
