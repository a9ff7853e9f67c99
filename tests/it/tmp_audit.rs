mod audit;
mod recount;
