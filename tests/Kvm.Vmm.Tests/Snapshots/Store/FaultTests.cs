using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Vmm.Tests.Snapshots.Store;

/// <summary>Every change of every operation fails once: what was there is as it was, and nothing is left of what was to be.</summary>
public sealed class FaultTests
{
    private const int MostChanges = 200;

    public static TheoryData<string, bool> Operations
    {
        get
        {
            var data = new TheoryData<string, bool>();
            foreach (string operation in (string[])["save", "increment", "import", "merge", "prune", "remove", "export"])
            {
                data.Add(operation, false);
                data.Add(operation, true);
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Operations))]
    public void A_fault_at_any_change_leaves_every_snapshot_whole_and_no_rubbish(string operation, bool forGood)
    {
        for (int failAt = 1; failAt < MostChanges; failAt++)
        {
            using var test = new TestStore();
            Prepare(test);
            var files = new FaultyFiles(failAt, forGood);
            var store = SnapshotStore.Open(test.Folder, null, files);
            Exception? error = Record.Exception(() => Do(store, operation, test.Folder));
            if (error is not null)
                error.Should().BeOfType<VmmException>().Which.Error.Should().Be(SnapshotErrors.WriteFailed);
            ShouldBeWhole(test, operation, error is null, files.HasFailed && forGood);
            if (!files.HasFailed)
                return;
        }

        Assert.Fail("the operation has more changes than it can have");
    }

    private static void Prepare(TestStore test)
    {
        test.Save("a", 1, 3, 5, 7, 9, 11);
        TestStore.Save(test.Store, "b", [13], new SnapshotOptions { Parent = "a" });
        TestStore.Save(test.Store, "c", [7, 15]);
        test.Store.Export("b", Path.Combine(test.Folder, "b.kvmsnap"), SnapshotCompression.None, 1);
        TestStore.Save(test.Store, "gone", [17, 19, 21, 23]);
        TestStore.Save(test.Store, "d", [19]);
    }

    private static void Do(SnapshotStore store, string operation, string folder)
    {
        switch (operation)
        {
            case "save":
                TestStore.Save(store, "new", [1, 25]);
                break;
            case "increment":
                TestStore.Save(store, "new", [1, 25], new SnapshotOptions { Parent = "b" });
                break;
            case "import":
                File.Move(Path.Combine(folder, "b.snapshot"), Path.Combine(folder, "b.hidden"));
                store.Import(Path.Combine(folder, "b.kvmsnap"), "new", SnapshotCompression.Lz4, 1);
                break;
            case "merge":
                store.Merge("b");
                break;
            case "prune":
                File.Delete(Path.Combine(folder, "gone.snapshot"));
                store.Prune();
                break;
            case "remove":
                store.Remove(["gone"]);
                break;
            default:
                store.Export("b", Path.Combine(folder, "new.kvmsnap"), SnapshotCompression.Lz4, 1);
                break;
        }
    }

    private static void ShouldBeWhole(TestStore test, string operation, bool succeeded, bool hostIsGone)
    {
        if (File.Exists(Path.Combine(test.Folder, "b.hidden")))
            File.Move(Path.Combine(test.Folder, "b.hidden"), test.PathOf("b"));
        string file = Path.Combine(test.Folder, "new.kvmsnap");
        if (File.Exists(file))
            SnapshotStore.VerifyFile(file, null, 1).Problems.Should().BeEmpty();
        else if (operation == "export")
            succeeded.Should().BeFalse();
        string[] names = [.. test.Store.List().Select(i => i.Name)];
        names.Should().Contain(["a", "b", "c", "d"]);
        // A host that does nothing any more cannot take a name back; then the snapshot is there, and whole.
        if (operation is "save" or "increment" or "import" && !hostIsGone)
            names.Contains("new").Should().Be(succeeded);

        test.ShouldHold("a", 1, 3, 5, 7, 9, 11, 0, 0, 0);
        test.ShouldHold("b", 13, 3, 5, 7, 9, 11, 0, 0, 0);
        test.ShouldHold("c", 7, 15);
        test.ShouldHold("d", 19);
        test.Store.Verify([], 1).Problems.Should().BeEmpty();
        // Whoever writes next finds the rubbish.
        test.Save("next", 27);
        test.Store.Remove(["next"]);
        Directory.GetFiles(Path.Combine(test.Folder, "packs"), "*.part").Should().BeEmpty();
        Directory.GetFiles(test.Folder, "*.snapshot.part").Should().BeEmpty();
        test.Store.Prune();
        test.Store.Verify([], 1).Problems.Should().BeEmpty();
        test.ShouldHold("b", 13, 3, 5, 7, 9, 11, 0, 0, 0);
    }
}
