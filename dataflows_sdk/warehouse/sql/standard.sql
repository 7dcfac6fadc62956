-- The views that come with the library, on the tables of dataflows_sdk/warehouse/standard.
-- docs/reference/standard-views.md says what their columns mean.

-- name: unified_customer
with people as (
    select customer_id, nullif(lower(btrim(email)), '') as email, nullif(btrim(name), '') as name, created_at
    from stripe_customers
), charged as (
    select coalesce(p.email, nullif(lower(btrim(c.email)), ''), 'stripe:' || c.customer_id, 'stripe:unknown') as customer,
           upper(c.currency) as currency,
           coalesce(c.amount_captured, c.amount) * unit.size as paid,
           coalesce(c.amount_refunded, 0) * unit.size as refunded,
           coalesce(c.disputed, false) as disputed,
           c.created_at
    from stripe_charges c
    left join people p on p.customer_id = c.customer_id
    -- Stripe's smallest unit is the hundredth, but for these
    cross join lateral (
        select case when upper(c.currency) in ('BIF', 'CLP', 'DJF', 'GNF', 'JPY', 'KMF', 'KRW', 'MGA', 'PYG', 'RWF',
                                               'VND', 'VUV', 'XAF', 'XOF', 'XPF') then 1::numeric
                    when upper(c.currency) in ('BHD', 'JOD', 'KWD', 'OMR', 'TND') then 0.001
                    else 0.01 end as size
    ) unit
    where c.status = 'succeeded' and c.captured
), money as (
    select customer, currency, count(*) as payments, sum(paid) as paid, sum(refunded) as refunded,
           count(*) filter (where disputed) as disputes, min(created_at) as first_paid_at, max(created_at) as last_paid_at
    from charged
    group by customer, currency
), stripe as (
    select coalesce(email, 'stripe:' || customer_id) as customer,
           (array_agg(name order by created_at desc nulls last, customer_id) filter (where name is not null))[1] as name,
           string_agg(customer_id, ', ' order by customer_id) as customers
    from people
    group by 1
), hubspot as (
    -- Of several contacts with one address the one that was changed last.
    select distinct on (customer) *
    from (
        select coalesce(nullif(lower(btrim(email)), ''), 'hubspot:' || contact_id) as customer,
               contact_id, nullif(concat_ws(' ', nullif(btrim(first_name), ''), nullif(btrim(last_name), '')), '') as name,
               company, lifecycle_stage, updated_at
        from hubspot_contacts
        where not coalesce(archived, false)
    ) contact
    order by customer, updated_at desc nulls last, contact_id
), everybody as (
    select customer from stripe union select customer from money union select customer from hubspot
)
select e.customer,
       case when e.customer !~ '^(stripe|hubspot):' then e.customer end as email,
       coalesce(h.name, s.name) as name,
       h.company,
       h.lifecycle_stage,
       h.contact_id as hubspot_contact_id,
       s.customers as stripe_customer_ids,
       m.currency,
       coalesce(m.payments, 0) as payments,
       coalesce(m.paid, 0) as paid,
       coalesce(m.refunded, 0) as refunded,
       coalesce(m.paid - m.refunded, 0) as net,
       coalesce(m.disputes, 0) as disputes,
       m.first_paid_at,
       m.last_paid_at,
       case when h.customer is null then 'stripe'
            when s.customer is null and m.customer is null then 'hubspot'
            else 'both' end as known_to
from everybody e
left join stripe s on s.customer = e.customer
left join hubspot h on h.customer = e.customer
left join money m on m.customer = e.customer

-- name: project_profitability
with project as (
    select project_id, name, nullif(lower(regexp_replace(btrim(name), '\s+', ' ', 'g')), '') as word
    from clickup_projects
), named as (
    -- A name that two projects have says nothing.
    select word, min(project_id) as project_id from project where word is not null group by word having count(*) = 1
), link as (
    select distinct on (word) word, clickup_project_id as project_id
    from (select lower(regexp_replace(btrim(xero_project), '\s+', ' ', 'g')) as word, xero_project, clickup_project_id
          from project_links) l
    order by word, xero_project
), entry as (
    -- While a timer runs, its duration is negative.
    select coalesce(t.project_id, e.project_id, 'clickup:none') as project, e.user_id,
           e.duration_ms / 3600000.0 as hours, coalesce(e.billable, false) as billable
    from clickup_time_entries e
    left join clickup_tasks t on t.task_id = e.task_id
    where e.duration_ms > 0
), worked as (
    select e.project, sum(e.hours) as hours, sum(e.hours) filter (where e.billable) as billable_hours,
           sum(e.hours) filter (where r.user_id is null) as hours_without_rate
    from entry e
    left join labour_rates r on r.user_id = e.user_id
    group by e.project
), labour as (
    select e.project, upper(r.currency) as currency, sum(e.hours * r.hourly_cost) as labour
    from entry e
    join labour_rates r on r.user_id = e.user_id
    group by e.project, upper(r.currency)
), task as (
    select coalesce(project_id, 'clickup:none') as project, count(*) as tasks,
           count(*) filter (where coalesce(status_type, '') not in ('closed', 'done')) as open_tasks
    from clickup_tasks
    where not coalesce(archived, false)
    group by 1
), line as (
    -- An invoice of which only the summary is known is one line. What credit notes took off is shared by its lines.
    select i.invoice_id, i.type, upper(i.currency) as currency,
           coalesce(l.net_amount, case when l.line_id is null then i.sub_total end, 0)
               * case when coalesce(i.total, 0) = 0 then 1
                      else 1 - least(coalesce(i.credit_notes, 0), i.total) / i.total end as net,
           nullif(btrim(l.project), '') as option,
           nullif(btrim(i.reference), '') as reference
    from xero_invoices i
    left join xero_invoice_lines l on l.invoice_id = i.invoice_id and l.updated_at is not distinct from i.updated_at
    where i.status in ('AUTHORISED', 'PAID') and i.type in ('ACCREC', 'ACCPAY')
), placed as (
    select line.*, coalesce(line.option, line.reference) as label,
           coalesce(l1.project_id, n1.project_id,
                    case when line.option is null then coalesce(l2.project_id, n2.project_id) end) as project_id
    from line
    left join link l1 on l1.word = lower(regexp_replace(line.option, '\s+', ' ', 'g'))
    left join named n1 on n1.word = lower(regexp_replace(line.option, '\s+', ' ', 'g'))
    left join link l2 on l2.word = lower(regexp_replace(line.reference, '\s+', ' ', 'g'))
    left join named n2 on n2.word = lower(regexp_replace(line.reference, '\s+', ' ', 'g'))
), billed as (
    select coalesce(project_id, 'xero:' || coalesce(lower(regexp_replace(label, '\s+', ' ', 'g')), 'none')) as project,
           min(label) as label,
           currency,
           count(distinct invoice_id) filter (where type = 'ACCREC') as invoices,
           sum(net) filter (where type = 'ACCREC') as invoiced,
           sum(net) filter (where type = 'ACCPAY') as bills
    from placed
    group by 1, currency
), money as (
    select coalesce(b.project, l.project) as project, coalesce(b.currency, l.currency) as currency,
           b.label, b.invoices, b.invoiced, b.bills, l.labour
    from billed b
    full join labour l on l.project = b.project and l.currency = b.currency
), everything as (
    select project_id as project from project
    union select project from worked union select project from task union select project from money
)
select e.project,
       case when e.project !~ '^(xero|clickup):' then e.project end as clickup_project_id,
       coalesce(p.name, case when e.project like 'xero:%' then m.label end,
                case when e.project !~ '^(xero|clickup):' then e.project end, '(no project)') as name,
       m.currency,
       count(*) over (partition by e.project) as currency_rows,
       coalesce(t.tasks, 0) as tasks,
       coalesce(t.open_tasks, 0) as open_tasks,
       round(coalesce(w.hours, 0), 4) as hours,
       round(coalesce(w.billable_hours, 0), 4) as billable_hours,
       round(coalesce(w.hours_without_rate, 0), 4) as hours_without_rate,
       coalesce(m.invoices, 0) as invoices,
       round(coalesce(m.invoiced, 0), 4) as invoiced,
       round(coalesce(m.bills, 0), 4) as bills,
       round(coalesce(m.labour, 0), 4) as labour,
       round(coalesce(m.invoiced, 0) - coalesce(m.bills, 0) - coalesce(m.labour, 0), 4) as profit,
       round((coalesce(m.invoiced, 0) - coalesce(m.bills, 0) - coalesce(m.labour, 0)) / nullif(m.invoiced, 0), 4) as margin,
       case when b.project is null then 'clickup'
            when p.project_id is null and w.project is null and t.project is null then 'xero'
            else 'both' end as known_to
from everything e
left join project p on p.project_id = e.project
left join worked w on w.project = e.project
left join task t on t.project = e.project
left join money m on m.project = e.project
left join (select distinct project from billed) b on b.project = e.project
