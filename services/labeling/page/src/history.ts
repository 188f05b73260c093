/** States that can be undone and redone. */
export class History<State> {
  private readonly past: State[] = [];
  private readonly future: State[] = [];

  constructor(private state: State) {}

  get now(): State {
    return this.state;
  }

  get canUndo(): boolean {
    return this.past.length > 0;
  }

  get canRedo(): boolean {
    return this.future.length > 0;
  }

  /** Goes on to a new state; what was undone before is gone. */
  commit(state: State): void {
    this.past.push(this.state);
    this.future.length = 0;
    this.state = state;
  }

  undo(): void {
    this.step(this.past, this.future);
  }

  redo(): void {
    this.step(this.future, this.past);
  }

  private step(from: State[], to: State[]): void {
    const state = from.pop();
    if (state === undefined) return;
    to.push(this.state);
    this.state = state;
  }
}
