package sluice

import "github.com/sluice-stream/sluice/batch"

// tpchStats are those of TPC-H at scale factor 1, as its Parquet files tell them.
// Columns are in the order of the standard's tables.
var tpchStats = map[string]batch.TableStats{
	"customer": {Rows: 150000, Bytes: 30347503, Exact: true, Columns: []batch.ColumnStats{
		{Min: int64(1), Max: int64(150000), Distinct: 150000, Width: 8.0}, // c_custkey
		{Min: nil, Max: nil, Distinct: 150000, Width: 22.0},               // c_name
		{Min: nil, Max: nil, Distinct: 0, Width: 35.0},                    // c_address
		{Min: int64(0), Max: int64(24), Distinct: 25, Width: 8.0},         // c_nationkey
		{Min: nil, Max: nil, Distinct: 150000, Width: 19.0},               // c_phone
		{Min: -999.99, Max: 9999.99, Distinct: 147372, Width: 16.0},       // c_acctbal
		{Min: nil, Max: nil, Distinct: 5, Width: 13.0},                    // c_mktsegment
		{Min: nil, Max: nil, Distinct: 0, Width: 81.3},                    // c_comment
	}},
	"lineitem": {Rows: 6001215, Bytes: 1040341693, Exact: true, Columns: []batch.ColumnStats{
		{Min: int64(1), Max: int64(6000000), Distinct: 1493194, Width: 8.0}, // l_orderkey
		{Min: int64(1), Max: int64(200000), Distinct: 199915, Width: 8.0},   // l_partkey
		{Min: int64(1), Max: int64(10000), Distinct: 10000, Width: 8.0},     // l_suppkey
		{Min: int64(1), Max: int64(7), Distinct: 7, Width: 4.0},             // l_linenumber
		{Min: 1.0, Max: 50.0, Distinct: 50, Width: 16.0},                    // l_quantity
		{Min: 901.0, Max: 104949.5, Distinct: 852065, Width: 16.0},          // l_extendedprice
		{Min: 0.0, Max: 0.1, Distinct: 11, Width: 16.0},                     // l_discount
		{Min: 0.0, Max: 0.08, Distinct: 9, Width: 16.0},                     // l_tax
		{Min: nil, Max: nil, Distinct: 3, Width: 5.0},                       // l_returnflag
		{Min: nil, Max: nil, Distinct: 2, Width: 5.0},                       // l_linestatus
		{Min: int64(8036), Max: int64(10561), Distinct: 2521, Width: 4.0},   // l_shipdate
		{Min: int64(8065), Max: int64(10530), Distinct: 2461, Width: 4.0},   // l_commitdate
		{Min: int64(8038), Max: int64(10591), Distinct: 2538, Width: 4.0},   // l_receiptdate
		{Min: nil, Max: nil, Distinct: 4, Width: 16.0},                      // l_shipinstruct
		{Min: nil, Max: nil, Distinct: 7, Width: 8.3},                       // l_shipmode
		{Min: nil, Max: nil, Distinct: 0, Width: 35.1},                      // l_comment
	}},
	"nation": {Rows: 25, Bytes: 2634, Exact: true, Columns: []batch.ColumnStats{
		{Min: int64(0), Max: int64(24), Distinct: 25, Width: 8.0}, // n_nationkey
		{Min: nil, Max: nil, Distinct: 25, Width: 11.1},           // n_name
		{Min: int64(0), Max: int64(4), Distinct: 5, Width: 8.0},   // n_regionkey
		{Min: nil, Max: nil, Distinct: 25, Width: 78.3},           // n_comment
	}},
	"orders": {Rows: 1500000, Bytes: 200002992, Exact: true, Columns: []batch.ColumnStats{
		{Min: int64(1), Max: int64(6000000), Distinct: 1500000, Width: 8.0}, // o_orderkey
		{Min: int64(1), Max: int64(149999), Distinct: 91795, Width: 8.0},    // o_custkey
		{Min: nil, Max: nil, Distinct: 3, Width: 5.0},                       // o_orderstatus
		{Min: 857.71, Max: 555285.16, Distinct: 1498096, Width: 16.0},       // o_totalprice
		{Min: int64(8035), Max: int64(10440), Distinct: 2406, Width: 4.0},   // o_orderdate
		{Min: nil, Max: nil, Distinct: 5, Width: 12.4},                      // o_orderpriority
		{Min: nil, Max: nil, Distinct: 1000, Width: 19.0},                   // o_clerk
		{Min: int64(0), Max: int64(0), Distinct: 1, Width: 4.0},             // o_shippriority
		{Min: nil, Max: nil, Distinct: 0, Width: 56.9},                      // o_comment
	}},
	"part": {Rows: 200000, Bytes: 31237874, Exact: true, Columns: []batch.ColumnStats{
		{Min: int64(1), Max: int64(200000), Distinct: 200000, Width: 8.0}, // p_partkey
		{Min: nil, Max: nil, Distinct: 0, Width: 41.3},                    // p_name
		{Min: nil, Max: nil, Distinct: 5, Width: 18.0},                    // p_mfgr
		{Min: nil, Max: nil, Distinct: 25, Width: 12.0},                   // p_brand
		{Min: nil, Max: nil, Distinct: 150, Width: 24.6},                  // p_type
		{Min: int64(1), Max: int64(50), Distinct: 50, Width: 4.0},         // p_size
		{Min: nil, Max: nil, Distinct: 40, Width: 11.6},                   // p_container
		{Min: 901.0, Max: 2098.99, Distinct: 10900, Width: 16.0},          // p_retailprice
		{Min: nil, Max: nil, Distinct: 0, Width: 20.7},                    // p_comment
	}},
	"partsupp": {Rows: 800000, Bytes: 134410688, Exact: true, Columns: []batch.ColumnStats{
		{Min: int64(1), Max: int64(200000), Distinct: 200000, Width: 8.0}, // ps_partkey
		{Min: int64(1), Max: int64(10000), Distinct: 10000, Width: 8.0},   // ps_suppkey
		{Min: int64(1), Max: int64(9999), Distinct: 9986, Width: 4.0},     // ps_availqty
		{Min: 1.0, Max: 1000.0, Distinct: 99361, Width: 16.0},             // ps_supplycost
		{Min: nil, Max: nil, Distinct: 0, Width: 132.0},                   // ps_comment
	}},
	"region": {Rows: 5, Bytes: 444, Exact: true, Columns: []batch.ColumnStats{
		{Min: int64(0), Max: int64(4), Distinct: 5, Width: 8.0}, // r_regionkey
		{Min: nil, Max: nil, Distinct: 5, Width: 10.8},          // r_name
		{Min: nil, Max: nil, Distinct: 5, Width: 70.0},          // r_comment
	}},
	"supplier": {Rows: 10000, Bytes: 1685466, Exact: true, Columns: []batch.ColumnStats{
		{Min: int64(1), Max: int64(10000), Distinct: 10000, Width: 8.0}, // s_suppkey
		{Min: nil, Max: nil, Distinct: 10000, Width: 22.0},              // s_name
		{Min: nil, Max: nil, Distinct: 10000, Width: 29.0},              // s_address
		{Min: int64(0), Max: int64(24), Distinct: 25, Width: 8.0},       // s_nationkey
		{Min: nil, Max: nil, Distinct: 10000, Width: 19.0},              // s_phone
		{Min: -998.22, Max: 9999.72, Distinct: 9955, Width: 16.0},       // s_acctbal
		{Min: nil, Max: nil, Distinct: 10000, Width: 66.6},              // s_comment
	}},
}
