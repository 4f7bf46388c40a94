using System.Security.Cryptography;

namespace Kvm.Vmm.Snapshots.Store;

/// <summary>Ciphers of one file: one cannot be used by two threads at once. Safe from any thread.</summary>
internal sealed class CipherPool(SnapshotKey key, byte[] salt) : IDisposable
{
    private readonly Stack<AesGcm> _free = new();

    public AesGcm Take()
    {
        lock (_free)
        {
            if (_free.TryPop(out var cipher))
                return cipher;
        }

        return key.CipherOf(salt);
    }

    public void Return(AesGcm cipher)
    {
        lock (_free)
            _free.Push(cipher);
    }

    public void Dispose()
    {
        lock (_free)
        {
            while (_free.TryPop(out var cipher))
                cipher.Dispose();
        }
    }
}
