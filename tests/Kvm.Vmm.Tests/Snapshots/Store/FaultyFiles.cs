using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Vmm.Tests.Snapshots.Store;

/// <summary>Files of the host of which one change fails: that one alone, or all from it on, as when a disk is full or gone. A write that fails leaves half of it.</summary>
internal sealed class FaultyFiles(int failAt, bool forGood) : IStoreFiles
{
    private readonly HostStoreFiles _host = HostStoreFiles.Instance;
    private int _changes;

    /// <summary>True once a change was made to fail.</summary>
    public bool HasFailed { get; private set; }

    public IStoreFile Create(string path) => Change(() => (IStoreFile)new FaultyFile(this, _host.Create(path)));

    public IStoreFile Open(string path) => _host.Open(path);

    public void Rename(string from, string to, bool replace) => Change(() => _host.Rename(from, to, replace));

    public void Delete(string path) => Change(() => _host.Delete(path));

    public void SyncFolder(string path) => Change(() => _host.SyncFolder(path));

    public IEnumerable<string> List(string folder) => _host.List(folder);

    private void Change(Action work) => Change(() =>
    {
        work();
        return true;
    });

    private T Change<T>(Func<T> work, Action? part = null)
    {
        int number = Interlocked.Increment(ref _changes);
        if (number != failAt && !(forGood && number > failAt))
            return work();
        HasFailed = true;
        part?.Invoke();
        throw new IOException("a fault of the test's", unchecked((int)0x80070070));
    }

    private sealed class FaultyFile(FaultyFiles files, IStoreFile file) : IStoreFile
    {
        public long Length => file.Length;

        public int ReadAt(long position, Span<byte> to) => file.ReadAt(position, to);

        public void WriteAt(long position, ReadOnlySpan<byte> from)
        {
            byte[] bytes = from.ToArray();
            files.Change(() =>
            {
                file.WriteAt(position, bytes);
                return true;
            }, () => file.WriteAt(position, bytes.AsSpan(0, bytes.Length / 2)));
        }

        public void Flush() => files.Change(() => file.Flush());

        public void Dispose() => file.Dispose();
    }
}
