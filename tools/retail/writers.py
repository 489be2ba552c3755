"""What happens in a task of the order desk: one writer for each idea in wording.yaml.

A writer draws facts from the world of its scene, makes the calls a right answer makes, and ends
each turn; the words come from the family it is written for.
"""

from __future__ import annotations

from pathlib import Path

from distill.toolsets import load_module
from distill.toolsets.generation import amount, listed

scene = load_module(Path(__file__).with_name("scene.py"))
world, Scene, Row = scene.world, scene.Scene, scene.Row
address_words, basket, lines, money = scene.address_words, scene.basket, scene.lines, scene.money
name_of, on_day = scene.name_of, scene.on_day


# --- one call -------------------------------------------------------------------------------


def find_customer(s: Scene) -> None:
    who = s.customer()
    s.call("find_customer", email=who["email"])
    s.says(**who)


def list_orders(s: Scene) -> None:
    who, status = s.customer(), s.rng.choice(("all", "pending", "shipped", "delivered"))
    day = world.TODAY.replace(month=s.rng.choice((1, 2)), day=s.rng.randint(1, 28))
    recent = s.rng.random() < 0.5
    kept = {"placed_since": f"{day}"} if recent else {}
    kept |= {"status": status} if status != "all" else {}
    found = s.call("list_orders", customer_id=who["id"], **kept)
    since = f"since {on_day(s.rng, day)}" if recent else ""
    ids = listed([row["order_id"] for row in found]) if found else "nothing"
    s.says(customer=who["id"], status=status, since=since, found=ids)


def get_order(s: Scene) -> None:
    order = s.order("pending", "shipped", "delivered", "cancelled")
    result = s.call("get_order", order_id=order["id"])
    what = listed([row["name"] for row in result["items"]])
    total = money(result["total"]).removesuffix(" EUR")
    s.says(order=order["id"], what=what, total=total, short=total.removesuffix("0"))


def track_shipment(s: Scene) -> None:
    order = s.order("shipped")
    result = s.call("track_shipment", order_id=order["id"])
    s.says(order=order["id"], town=result["location"].split()[0], **result)


def search_products(s: Scene) -> None:
    rng, wanted, limit = s.rng, {"category": s.category()}, ""
    if rng.random() < 0.7:
        wanted["max_price"] = rng.randrange(20, 160, 5)
        word = rng.choice(("up to", "for at most", "for no more than"))
        limit = f"{word} {money(wanted['max_price'], rng)}"
    if in_stock := rng.random() < 0.5:
        wanted["in_stock"] = True
    ready = rng.choice(("that is in stock", "we could ship right away")) if in_stock else ""
    sort = rng.choice(("rating", "price_asc", "price_desc"))
    if sort != "rating":
        wanted["sort"] = sort
    order = {"rating": "", "price_asc": ", cheapest first", "price_desc": ", dearest first"}[sort]
    found = s.call("search_products", **wanted)
    top = found[0]["name"] if found else "nothing that fits"
    s.says(category=wanted["category"], limit=limit, ready=ready, order=order, found=top)


def check_stock(s: Scene) -> None:
    skus = s.rng.sample(list(s.products), s.rng.randint(1, 3))
    result = s.call("check_stock", skus=skus)
    found = listed([f"{count} of {sku}" for sku, count in result.items()])
    s.says(skus=listed(skus), found=found)


def place_order(s: Scene) -> None:
    rng, who, options, extra = s.rng, s.customer(), {}, ""
    rows = [row | {"quantity": rng.randint(1, 3)} for row in s.stocked(3, rng.choice((1, 2)))]
    if rng.random() < 0.4:
        options["shipping"] = "express"
        extra = rng.choice((", express", ", by express delivery", ", sent express"))
    if rng.random() < 0.3:
        options["gift_wrap"] = True
        extra += rng.choice((", gift-wrapped", ", wrapped as a present"))
    result = s.call("place_order", customer_id=who["id"], items=lines(rows), **options)
    result["total"] = money(result["total"])
    s.says(customer=who["id"], items=basket(rng, rows), extra=extra, **result)


def cancel_order(s: Scene) -> None:
    order, (reason, why) = s.order("pending"), s.reason(scene.WHY_CANCEL)
    given = {} if reason == "not_given" else {"reason": reason}
    refund = s.call("cancel_order", order_id=order["id"], **given)["refund"]
    s.says(order=order["id"], refund=money(refund), why=why and f", {why}")


def change_address(s: Scene) -> None:
    order, address = s.order("pending"), s.new_address()
    s.call("change_address", order_id=order["id"], address=address)
    s.says(order=order["id"], address=address_words(address))


def return_items(s: Scene) -> None:
    rng, order = s.rng, s.order("delivered")
    owned = s.items(order)
    chosen = rng.sample(owned, rng.randint(1, len(owned)))
    rows = [row | {"quantity": rng.randint(1, row["quantity"])} for row in chosen]
    credit = rng.random() < 0.4
    target = {"refund_to": "store_credit"} if credit else {}
    refund = s.call("return_items", order_id=order["id"], items=lines(rows), **target)["refund"]
    to = rng.choice((", as store credit", ", for credit in the shop")) if credit else ""
    s.says(order=order["id"], items=basket(rng, rows), to=to, refund=money(refund))


def exchange_item(s: Scene) -> None:
    order, item, new = s.swap(in_stock=True)
    result = s.call("exchange_item", order_id=order["id"], sku=item["sku"], new_sku=new)
    s.says(order=order["id"], sku=item["sku"], new=new, sends=result["sends"])


def refund_order(s: Scene) -> None:
    order, (reason, why) = s.order("delivered"), s.reason(scene.WHY_REFUND)
    value = s.rng.choice((3, 5, 7.5, 8, 10, 12, 12.5, 15))
    s.call("refund_order", order_id=order["id"], amount=value, reason=reason)
    s.says(order=order["id"], amount=money(value, s.rng), why=why, sum=money(value))


# --- several calls --------------------------------------------------------------------------


def see_orders(s: Scene) -> None:
    ids = [row["id"] for row in s.rng.sample(s.rows["orders"], s.rng.choice((2, 2, 3)))]
    totals = [money(s.call("get_order", order_id=one)["total"]) for one in ids]
    s.says(orders=listed(ids), totals=listed(totals))


def track_orders(s: Scene) -> None:
    ids = [row["id"] for row in s.orders("shipped", s.rng.choice((2, 3)))]
    places = [s.call("track_shipment", order_id=one)["location"] for one in ids]
    s.says(orders=listed(ids), places=listed(places))


def cancel_orders(s: Scene) -> None:
    ids = [row["id"] for row in s.orders("pending", s.rng.choice((2, 2, 3)))]
    for one in ids:
        s.call("cancel_order", order_id=one)
    s.says(orders=listed(ids))


def refund_orders(s: Scene) -> None:
    ids = [row["id"] for row in s.orders("delivered", 2)]
    values = s.rng.sample((3, 4, 5, 6, 8, 9, 10), 2)
    for one, value in zip(ids, values, strict=True):
        s.call("refund_order", order_id=one, amount=value, reason="late")
    s.says(one=ids[0], other=ids[1], first=money(values[0]), second=money(values[1]))


def cancel_and_track(s: Scene) -> None:
    order, parcel = s.order("pending"), s.order("shipped")
    s.call("cancel_order", order_id=order["id"])
    result = s.call("track_shipment", order_id=parcel["id"])
    s.says(order=order["id"], parcel=parcel["id"], **result)


def stock_and_address(s: Scene) -> None:
    order, address, sku = s.order("pending"), s.new_address(), s.rng.choice(list(s.products))
    s.call("change_address", order_id=order["id"], address=address)
    count = s.call("check_stock", skus=[sku])[sku]
    s.says(order=order["id"], address=address_words(address), sku=sku, count=count)


# --- calls that need earlier results --------------------------------------------------------


def orders_of_email(s: Scene) -> None:
    who = s.customer()
    customer = s.call("find_customer", email=who["email"])["customer_id"]
    found = s.call("list_orders", step=1, customer_id=customer)
    s.says(**who, found=listed([row["order_id"] for row in found]) if found else "no order yet")


def order_for_email(s: Scene) -> None:
    who, rows = s.customer(), [row | {"quantity": s.rng.randint(1, 3)} for row in s.stocked(3, 1)]
    customer = s.call("find_customer", email=who["email"])["customer_id"]
    result = s.call("place_order", step=1, customer_id=customer, items=lines(rows))
    s.says(**who, items=basket(s.rng, rows), **result)


def parcel_of_email(s: Scene) -> None:
    who = s.customer(s.order("shipped"))
    customer = s.call("find_customer", email=who["email"])["customer_id"]
    wanted = {"customer_id": customer, "status": "shipped", "accept": {"status": ("any",)}}
    found = s.call("list_orders", step=1, **wanted)
    result = s.call("track_shipment", step=2, order_id=found[0]["order_id"])
    s.says(**who, town=result["location"].split()[0], **result)


def return_by_name(s: Scene) -> None:
    order = s.order("delivered")
    item = s.rng.choice(s.items(order)) | {"quantity": 1}
    s.call("get_order", order_id=order["id"])
    result = s.call("return_items", step=1, order_id=order["id"], items=lines([item]))
    s.says(order=order["id"], product=name_of(item), refund=money(result["refund"]))


def return_all(s: Scene) -> None:
    order = s.order("delivered")
    found = s.call("get_order", order_id=order["id"])["items"]
    result = s.call("return_items", step=1, order_id=order["id"], items=lines(found))
    s.says(order=order["id"], refund=money(result["refund"]))


def swap_by_name(s: Scene) -> None:
    order, item, new = s.swap(in_stock=True)
    s.call("get_order", order_id=order["id"])
    s.call("exchange_item", step=1, order_id=order["id"], sku=item["sku"], new_sku=new)
    s.says(order=order["id"], product=name_of(item), new=new)


def refund_share(s: Scene) -> None:
    order, (reason, why) = s.order("delivered"), s.reason(scene.WHY_REFUND)
    share, total = s.rng.choice((10, 20, 50)), s.call("get_order", order_id=order["id"])["total"]
    value = round(total * share / 100, 2)
    s.call("refund_order", step=1, order_id=order["id"], amount=value, reason=reason)
    s.says(order=order["id"], share=f"{share}%", why=why, sum=money(value))


# --- several turns --------------------------------------------------------------------------


def look_then_cancel(s: Scene) -> None:
    order = s.order("pending")
    result = s.call("get_order", order_id=order["id"])
    s.says(order=order["id"], what=listed([row["name"] for row in result["items"]]))
    s.call("cancel_order", order_id=order["id"])
    s.says(order=order["id"])


def ask_then_cancel(s: Scene) -> None:
    order = s.order("pending")
    s.asks(**s.facts())
    s.call("cancel_order", order_id=order["id"])
    s.says(order=order["id"])


def track_then_refund(s: Scene) -> None:
    order, (reason, why) = s.order("delivered"), s.reason(scene.WHY_REFUND)
    result = s.call("track_shipment", order_id=order["id"])
    s.says(order=order["id"], **result)
    s.call("refund_order", order_id=order["id"], amount=5, reason=reason)
    s.says(order=order["id"], amount=money(5, s.rng), why=why, sum=money(5))


def stock_then_order(s: Scene) -> None:
    who, count, sku = s.customer(), s.rng.randint(1, 3), s.stocked(3, 1)[0]["sku"]
    s.says(sku=sku, left=s.call("check_stock", skus=[sku])[sku])
    items = [{"sku": sku, "quantity": count}]
    result = s.call("place_order", customer_id=who["id"], items=items)
    s.says(sku=sku, customer=who["id"], count=amount(s.rng, count), **result)
    s.chats()


def find_then_list(s: Scene) -> None:
    who = s.customer()
    s.call("find_customer", email=who["email"])
    s.says(**who)
    found = s.call("list_orders", customer_id=who["id"], status="pending")
    s.says(**who, found=listed([row["order_id"] for row in found]) if found else "nothing")


# --- failures -------------------------------------------------------------------------------


def cancel_too_late(s: Scene) -> None:
    order = s.order("shipped", "delivered")
    s.failing("cancel_order", order_id=order["id"])
    s.says(order=order["id"], status=order["status"])


def cancel_or_track(s: Scene) -> None:
    order = s.order("shipped")
    s.failing("cancel_order", order_id=order["id"])
    result = s.call("track_shipment", step=1, order_id=order["id"])
    s.says(order=order["id"], **result)


def return_too_late(s: Scene) -> None:
    order = s.order("late")
    item = s.items(order)[0] | {"quantity": 1}
    s.failing("return_items", order_id=order["id"], items=lines([item]))
    s.says(order=order["id"], sku=item["sku"], delivered=order["delivered"])


def swap_or_return(s: Scene) -> None:
    order, item, new = s.swap(in_stock=False)
    s.failing("exchange_item", order_id=order["id"], sku=item["sku"], new_sku=new)
    back = lines([item | {"quantity": 1}])
    refund = s.call("return_items", step=1, order_id=order["id"], items=back)["refund"]
    s.says(order=order["id"], sku=item["sku"], new=new, refund=money(refund))


def order_sold_out(s: Scene) -> None:
    who = s.customer()
    sku = s.rng.choice([row["sku"] for row in s.rows["products"] if row["stock"] == 0])
    s.failing("place_order", customer_id=who["id"], items=[{"sku": sku, "quantity": 1}])
    s.says(customer=who["id"], sku=sku)


def unknown_order(s: Scene) -> None:
    order = f"R{s.rng.randint(9100, 9999)}"
    s.failing("get_order", order_id=order)
    s.says(order=order)


def refund_too_much(s: Scene) -> None:
    reasons = {name: words for name, words in scene.WHY_REFUND.items() if name != "goodwill"}
    order, (reason, why) = s.order("delivered"), s.reason(reasons)
    value = s.rng.randrange(1500, 4000, 50)
    s.failing("refund_order", order_id=order["id"], amount=value, reason=reason)
    s.says(order=order["id"], amount=money(value), why=why)


def busy_once(s: Scene) -> None:
    s.fault("track_shipment", "the carrier is busy, try again", times=1)
    order = s.order("shipped")
    s.failing("track_shipment", order_id=order["id"])
    result = s.call("track_shipment", step=1, order_id=order["id"])
    s.says(order=order["id"], town=result["location"].split()[0], **result)


def stock_down(s: Scene) -> None:
    s.fault("check_stock", "the warehouse system is down until tomorrow", times=None)
    sku = s.rng.choice(list(s.products))
    s.failing("check_stock", skus=[sku])
    s.says(sku=sku)
