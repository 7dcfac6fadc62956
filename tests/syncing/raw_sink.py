from __future__ import annotations
import json
from dataflows_sdk.syncing.sink import Stored

class RawSink:
    def __init__(self, name): self.name = name
    def _make(self, c, t):
        c.execute(f'create table if not exists warehouse."{t}" (id bigint generated always as identity, k text unique, row jsonb, _source text)')
    def store(self, connection, table, key, rows, deleted, *, ids):
        c = connection; self._make(c, table); ins=upd=same=0; seen=[]
        for row in rows:
            k=",".join(str(row[x]) for x in key); text=json.dumps(row, default=str, sort_keys=True)
            old=c.execute(f'select row from warehouse."{table}" where k=%s',(k,)).fetchone()
            if old is None: ins+=1
            elif json.loads(text)==old[0]: same+=1
            else: upd+=1
            seen.append(str(c.execute(f'insert into warehouse."{table}" as t (k,row,_source) values (%s,%s,%s) on conflict (k) do update set row=excluded.row returning id',(k,text,self.name)).fetchone()[0]))
        d=0
        for each in deleted:
            d+=c.execute(f'delete from warehouse."{table}" where k=%s',(str(each),)).rowcount
        return Stored(ins,upd,same,d,0,tuple(seen))
    def _cond(self,table): return f'_source=%s and not exists (select from dataflows.sync_page p, unnest(p.ids) i where p.name=%s and p.pass=%s and p.target=%s and i=t.id::text)'
    def gone(self,c,table,number):
        self._make(c,table)
        a=c.execute(f'select count(*) from warehouse."{table}" t where _source=%s',(self.name,)).fetchone()[0]
        b=c.execute(f'select count(*) from warehouse."{table}" t where '+self._cond(table),(self.name,self.name,number,table)).fetchone()[0]
        return a,b
    def sweep(self,c,table,number):
        return c.execute(f'delete from warehouse."{table}" t where '+self._cond(table),(self.name,self.name,number,table)).rowcount
