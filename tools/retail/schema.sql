CREATE TABLE customers (
    id TEXT PRIMARY KEY, name TEXT, email TEXT UNIQUE, street TEXT, city TEXT, postcode TEXT,
    country TEXT, credit INTEGER NOT NULL DEFAULT 0);

CREATE TABLE products (
    sku TEXT PRIMARY KEY, model TEXT, variant TEXT, category TEXT, cents INTEGER, rating REAL,
    stock INTEGER NOT NULL CHECK (stock >= 0));

CREATE TABLE orders (
    id TEXT PRIMARY KEY, customer TEXT REFERENCES customers (id), status TEXT, placed TEXT,
    delivered TEXT, expected TEXT, carrier TEXT, location TEXT, shipping TEXT, gift_wrap INTEGER,
    street TEXT, city TEXT, postcode TEXT, country TEXT, refunded INTEGER NOT NULL DEFAULT 0);

CREATE TABLE items (
    order_id TEXT REFERENCES orders (id), sku TEXT REFERENCES products (sku), quantity INTEGER,
    sent_back INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (order_id, sku));

CREATE TABLE exchanges (
    order_id TEXT REFERENCES orders (id), sku TEXT, new_sku TEXT, quantity INTEGER);
