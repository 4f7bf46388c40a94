using FsCheck;
using FsCheck.Fluent;
using Kvm.Sched.Ordering;

namespace Kvm.Sched.Tests;

public class IndexedHeapTests
{
    [Fact]
    public void A_heap_agrees_with_a_sorted_list()
    {
        var changes = (from id in Gen.Choose(0, 60) from key in Gen.Choose(-5, 5) from what in Gen.Choose(0, 5) select (id, key: (long)key, what)).ArrayOf(200);
        Prop.ForAll(changes.ToArbitrary(), list =>
        {
            var heap = new IndexedHeap();
            var model = new Dictionary<int, long>();
            foreach (var (id, key, what) in list)
            {
                if (heap.Contains(id) != model.ContainsKey(id))
                    return false;
                if (!model.ContainsKey(id))
                    heap.Add(id, key, id);
                else if (what == 0)
                    heap.Remove(id);
                else
                    heap.Update(id, key, id);
                if (what == 0 && model.Remove(id))
                    continue;
                model[id] = key;
                var first = model.MinBy(pair => (pair.Value, pair.Key));
                if (heap.Count != model.Count || heap.First != first.Key || heap.FirstKey != first.Value)
                    return false;
            }

            while (heap.Count > 0)
            {
                int id = heap.First;
                if (id != model.MinBy(pair => (pair.Value, pair.Key)).Key)
                    return false;
                heap.Remove(id);
                model.Remove(id);
            }

            return model.Count == 0;
        }).QuickCheckThrowOnFailure();
    }
}
